package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/permissions"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/pki"
	"millrace.dev/millrace/test/harness/process"
)

// marker is in every secret of this test: where it shows, a secret leaked.
const marker = "mArKeD-sEcReT-"

// securedSample is what the test runs.
const securedSample = "config/samples/secured.yaml"

var securedStages = []string{"validate", "enrich", "correlate", "analyze"}

// generation is one set of credentials: a CA, the server's certificate, and a password for each user.
type generation struct {
	ca, server pki.KeyPair
	passwords  map[string]string
}

// userOfStage is the NATS user of a stage.
func userOfStage(stage string) string { return "default.secured." + stage }

func natsUsers() []string {
	users := []string{"millrace-operator", "millrace-collector"}
	for _, s := range securedStages {
		users = append(users, userOfStage(s))
	}
	return users
}

func newGeneration(t *testing.T) generation {
	t.Helper()
	ca, err := pki.New("nats")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	g := generation{ca: pki.KeyPair{Cert: ca.PEM}, server: server, passwords: map[string]string{}}
	for _, user := range append(natsUsers(), "millrace-viewer", "millrace-editor") { // nobody looks here, but the server asks for their passwords
		g.passwords[user] = marker + rand.Text()
	}
	return g
}

// config is that of a server that takes this generation and no other. The users are those that
// `millrace nats-permissions` prints, and admin, for the test.
func (g generation) config(t *testing.T, printed, dir string) string {
	t.Helper()
	var b strings.Builder
	files := map[string][]byte{"cert_file": g.server.Cert, "key_file": g.server.Key}
	b.WriteString("tls {\n")
	for name, content := range files {
		path := filepath.Join(dir, rand.Text())
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "  %s: %q\n", name, path)
	}
	b.WriteString("}\n")
	for user, password := range g.passwords {
		fmt.Fprintf(&b, "%s: %q\n", permissions.Variable(user, "password"), password)
	}
	b.WriteString(strings.Replace(printed, "users = [\n", "users = [\n{user: admin, password: admin}\n", 1))
	return b.String()
}

// apply puts the generation where the operator, the collector and the workers read it.
func (g generation) apply(c *cluster) {
	c.t.Helper()
	var b strings.Builder
	secret := func(namespace, name, user string) {
		fmt.Fprintf(&b, "---\n{apiVersion: v1, kind: Secret, metadata: {namespace: %s, name: %s, annotations: {%s: %q}}, stringData: {username: %s, password: %s}}\n",
			namespace, name, v1alpha1.AnnotationNATSURL, c.nats[0].URL(), user, g.passwords[user])
	}
	secret("millrace-system", "nats-operator", "millrace-operator")
	secret("millrace-system", "nats-collector", "millrace-collector")
	for _, s := range securedStages {
		secret("default", "nats-"+s, userOfStage(s))
	}
	for _, namespace := range []string{"millrace-system", "default"} {
		text, err := json.Marshal(string(g.ca.Cert))
		if err != nil {
			c.t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n{apiVersion: v1, kind: ConfigMap, metadata: {namespace: %s, name: nats-ca}, data: {ca.crt: %s}}\n", namespace, text)
	}
	c.apply(b.String())
}

// TestSecured runs a pipeline with everything secured: TLS, a NATS user with few rights for each
// part, an operator that serves one namespace, and namespaces that admit restricted pods alone. It
// replaces all credentials under load, and looks for the secrets where none may be.
func TestSecured(t *testing.T) {
	together(t)
	first, second := newGeneration(t), newGeneration(t)
	dir := t.TempDir()
	printed, err := exec.CommandContext(t.Context(), harness.BuildBinary(t, harness.BuildOptions{}),
		"nats-permissions", "-f", "../../"+securedSample, "--console", "edit").Output()
	if err != nil {
		t.Fatal(err)
	}
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	for _, g := range []generation{first, second} {
		trusted.AppendCertsFromPEM(g.ca.Cert)
	}
	c := startCluster(t, setup{
		servers: []*natsserver.Server{harness.StartNATS(t, natsserver.Options{
			User: "admin", Password: "admin", Config: first.config(t, string(printed), dir),
		})},
		connect: []nats.Option{nats.UserInfo("admin", "admin"), nats.Secure(&tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12})},
		before:  first.apply,
		values: []string{
			"nats.credentialsSecret.name=nats-operator", "nats.credentialsSecret.type=Password",
			"nats.tls.ca.kind=ConfigMap", "nats.tls.ca.name=nats-ca", "networkPolicy.enabled=true",
			"collectors.kubernetes.enabled=true", "collectors.kubernetes.credentialsSecret.name=nats-collector",
			"collectors.kubernetes.subject=default.secured.raw.kubernetes", "operator.watchNamespaces={default}", "admissionWebhook.enabled=false",
			"console.enabled=true", "console.readOnly=false", "console.port=" + strconv.Itoa(port),
		},
	})
	c.run("kubectl", "apply", "-f", filepath.Join(c.root, securedSample))
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "secured") })
	for _, part := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"only workers that read the cluster have a token", tokens},
		{"the operator has rights in its namespaces alone", namespaced},
		{"network policies are accepted", networkPolicies},
		{"all credentials are replaced under load", func(t *testing.T, c *cluster) {
			rotate(t, c, second, second.config(t, string(printed), dir))
		}},
		{"the console looks and replays", func(t *testing.T, c *cluster) { consoleLooksAndReplays(t, c, port) }},
		{"nobody lacked a right", violations},
		{"secrets are nowhere but in Secrets", leaks},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, c) }) {
			t.FailNow()
		}
	}
}

func tokens(t *testing.T, c *cluster) {
	for _, stage := range securedStages {
		out := c.run("kubectl", "get", "pods", "-l", "millrace.dev/stage="+stage, "-o",
			`jsonpath={range .items[*].spec.volumes[*]}{.name}{"\n"}{end}`)
		has := strings.Contains(out, "kube-api-access")
		if want := stage == "enrich"; has != want {
			t.Errorf("stage %s: has a token of the API server: %t, want %t", stage, has, want)
		}
	}
}

func namespaced(t *testing.T, c *cluster) {
	const account = "--as=system:serviceaccount:millrace-system:millrace"
	for _, test := range []struct {
		verb, resource, namespace string
		want                      string
	}{
		{"list", "pipelines.millrace.dev", "default", "yes"},
		{"get", "secrets", "default", "yes"},
		{"list", "secrets", "default", "no"},
		{"create", "pods", "default", "no"},
		{"list", "pipelines.millrace.dev", "millrace-system", "no"},
		{"get", "secrets", "millrace-system", "no"},
		{"get", "secrets", "kube-system", "no"},
		{"list", "namespaces", "default", "no"},
	} {
		out, _ := c.try("kubectl", "auth", "can-i", test.verb, test.resource, "-n", test.namespace, account)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if got := lines[len(lines)-1]; got != test.want {
			t.Errorf("%s %s in %s: got %q, want %s", test.verb, test.resource, test.namespace, out, test.want)
		}
	}
	// Of the whole cluster it may only ask who reads its metrics and whether they may.
	got := strings.Fields(c.run("kubectl", "get", "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/component=operator", "-o", "jsonpath={.items[*].metadata.name}"))
	slices.Sort(got)
	if want := []string{"millrace-system:millrace-auth-delegator", "millrace-system:millrace-metrics-reader"}; !slices.Equal(got, want) {
		t.Errorf("the operator has the ClusterRoles and bindings %v, want %v", got, want)
	}
	// A Pipeline elsewhere is nobody's.
	c.run("kubectl", "create", "namespace", "elsewhere")
	c.run("kubectl", "-n", "elsewhere", "apply", "-f", filepath.Join(c.root, "config/samples/minimal.yaml"))
	time.Sleep(3 * time.Second)
	if out := c.run("kubectl", "-n", "elsewhere", "get", "pipelines.millrace.dev", "minimal", "-o", "jsonpath={.status}{.metadata.finalizers}"); out != "" {
		t.Errorf("the operator served a Pipeline of another namespace: %s", out)
	}
}

func networkPolicies(t *testing.T, c *cluster) {
	c.run("kubectl", "apply", "-f", filepath.Join(c.root, "config/network-policy/workers.yaml"))
	out := c.run("kubectl", "get", "networkpolicies", "--all-namespaces", "-o", "jsonpath={.items[*].metadata.name}")
	got := strings.Fields(out)
	slices.Sort(got)
	if want := []string{"millrace-collector-kubernetes", "millrace-enrich-workers", "millrace-operator", "millrace-sink-workers", "millrace-workers"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Each worker's policy selects pods that there are.
	for _, selector := range []string{"app.kubernetes.io/name=millrace-worker", "app.kubernetes.io/name=millrace-worker,app.kubernetes.io/component=enrich"} {
		if out := c.run("kubectl", "get", "pods", "-l", selector, "-o", "name"); !strings.Contains(out, "pod/") {
			t.Errorf("no pod has the labels %s", selector)
		}
	}
}

// rotate has the server take other passwords and another certificate while events flow.
func rotate(t *testing.T, c *cluster, next generation, config string) {
	const events = 100_000
	before := c.pods(t)
	collected := c.onSubject(t, "DEFAULT_SECURED_RAW", "default.secured.raw.kubernetes")
	next.apply(c)
	time.Sleep(2 * time.Second) // until the kubelet has brought the files
	done := make(chan error, 1)
	go func() { done <- publishNumbered(t.Context(), c.js, "default.secured.raw.load", events, 100) }()
	time.Sleep(time.Second)
	reloaded := time.Now()
	if err := c.nats[0].Reload(config); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 60*time.Second, func() error { return c.connectedSince(t, reloaded) })
	select {
	case <-done:
		t.Error("all events were published before everybody was connected with the new credentials: that was not under load")
	default:
	}
	// The store is repaired with the operator's new password, so that one is in use.
	s, err := c.js.Stream(t.Context(), "DEFAULT_SECURED_DEAD_LETTERS")
	if err != nil {
		t.Fatal(err)
	}
	changed := s.CachedInfo().Config
	wanted := changed.MaxAge
	changed.MaxAge = time.Hour
	if _, err := c.js.UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 90*time.Second, func() error {
		s, err := c.js.Stream(t.Context(), "DEFAULT_SECURED_DEAD_LETTERS")
		if err != nil {
			return err
		}
		if got := s.CachedInfo().Config.MaxAge; got != wanted {
			return fmt.Errorf("the operator has not repaired the stream: maxAge is %s, want %s", got, wanted)
		}
		return nil
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"DEFAULT_SECURED_VALIDATE", "DEFAULT_SECURED_ENRICH"} {
		harness.Eventually(t, 90*time.Second, func() error {
			lost, doubled := c.account(t, stream, events)
			if doubled > 0 {
				t.Fatalf("%s: %d events are doubled", stream, doubled)
			}
			if lost > 0 {
				return fmt.Errorf("%s: %d of %d events are missing", stream, lost, events)
			}
			return nil
		})
		t.Logf("%s: %d events, lost 0, doubled 0", stream, events)
	}
	// The collector publishes with its new password too.
	c.apply(crashLoop)
	harness.Eventually(t, 60*time.Second, func() error {
		if n := c.onSubject(t, "DEFAULT_SECURED_RAW", "default.secured.raw.kubernetes"); n <= collected {
			return fmt.Errorf("the collector has published nothing since")
		}
		return nil
	})
	harness.Eventually(t, 60*time.Second, func() error { return c.ready("pipelines.millrace.dev", "secured") })
	if after := c.pods(t); after != before {
		t.Errorf("pods were restarted: got\n%s\nwant\n%s", after, before)
	}
}

// connectedSince fails the check until every NATS user but admin has connections, all of them made
// since a time.
func (c *cluster) connectedSince(t *testing.T, since time.Time) error {
	t.Helper()
	response, err := http.Get(c.nats[0].MonitorURL() + "/connz?auth=1")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var all struct {
		Connections []struct {
			User  string `json:"authorized_user"`
			Start time.Time
			TLS   string `json:"tls_version"`
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	missing := natsUsers()
	for _, conn := range all.Connections {
		if conn.User == "admin" || conn.User == "" { // the test's own, and one that has not said yet who it is
			continue
		}
		if conn.Start.Before(since) {
			return fmt.Errorf("%s is connected since %s, before its password was replaced", conn.User, conn.Start)
		}
		if conn.TLS == "" {
			t.Errorf("%s is connected without TLS", conn.User)
		}
		missing = slices.DeleteFunc(missing, func(user string) bool { return user == conn.User })
	}
	if len(missing) > 0 {
		return fmt.Errorf("not connected since: %v", missing)
	}
	return nil
}

// pods are the UIDs and restarts of operator, collector and workers.
func (c *cluster) pods(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{{"-n", "millrace-system"}, {"-n", "default", "-l", "millrace.dev/pipeline=secured"}} {
		b.WriteString(c.run("kubectl", append(args, "get", "pods", "-o",
			`jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.containerStatuses[*].restartCount}{"\n"}{end}`)...))
	}
	return b.String()
}

// onSubject is the number of messages of a stream on a subject.
func (c *cluster) onSubject(t *testing.T, stream, subject string) uint64 {
	t.Helper()
	s, err := c.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	i, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		t.Fatal(err)
	}
	return i.State.Subjects[subject]
}

// account counts the numbered events that a stream lacks and that it has more than once; what the
// collector published is passed over.
func (c *cluster) account(t *testing.T, stream string, events int) (lost, doubled int) {
	t.Helper()
	seen := make([]int, events)
	for m := range c.messages(t, stream, ">") {
		for _, e := range frameEvents(t, m) {
			text, numbered := strings.CutPrefix(e.GetId(), "n-")
			if !numbered {
				continue
			}
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || n >= events {
				t.Fatalf("%s holds an event that nobody sent: %q", stream, e.GetId())
			}
			seen[n]++
		}
	}
	for _, n := range seen {
		switch {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	return lost, doubled
}

func violations(t *testing.T, c *cluster) {
	log, err := os.ReadFile(c.nats[0].LogFile())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(log), "\n") {
		if strings.Contains(line, "Violation - ") && !strings.Contains(line, `"admin"`) {
			t.Errorf("a right is missing: %s", line)
		}
	}
}
