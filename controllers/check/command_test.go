package check_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/controllers/check"
	"millrace.dev/millrace/controllers/operator"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config/usage"
)

// millrace runs `millrace check`.
func millrace(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var printed bytes.Buffer
	c := check.Command()
	c.SetOut(&printed)
	c.SetErr(&printed)
	c.SetArgs(append([]string{"--timeout=1s"}, args...))
	err = c.ExecuteContext(t.Context())
	return printed.String(), err
}

// wants finds each text in what was printed.
func wants(t *testing.T, printed string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(printed, text) {
			t.Errorf("got\n%swant %q in it", printed, text)
		}
	}
}

func TestNATS(t *testing.T) {
	const users = `accounts {
  PLAIN: {users: [{user: plain, password: marked-secret}]}
  FULL: {jetstream: {max_store: 1000, max_mem: 1000, max_streams: 1}, users: [{user: full, password: marked-secret}]}
  NO_ROOM: {jetstream: {max_store: 0, max_mem: 1000}, users: [{user: no-room, password: marked-secret}]}
  SHUT: {jetstream: enabled, users: [{user: shut, password: marked-secret, permissions: {publish: {deny: "$JS.API.INFO"}}}]}
}`
	on := harness.RunEmbeddedNATS(t, natsserver.Options{})
	off := harness.RunEmbeddedNATS(t, natsserver.Options{NoJetStream: true})
	_, leaf := harness.RunEmbeddedLeaf(t, "far")
	tenants := harness.RunEmbeddedNATS(t, natsserver.Options{Config: users})
	as := func(user string) []string {
		dir := t.TempDir()
		files := map[string]string{"user": user, "password": "marked-secret"}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return []string{"--nats-url=" + tenants.URL(), "--nats-user=" + filepath.Join(dir, "user"), "--nats-password=" + filepath.Join(dir, "password")}
	}
	cases := map[string]struct {
		args   []string
		failed string
		want   []string
	}{
		"all is well": {[]string{"--nats-url=" + on.URL()}, "", []string{
			"ok    nats         connected to " + on.URL(), "ok    version      NATS 2.", "ok    jetstream    on: 0 streams of any number",
		}},
		"JetStream is off": {[]string{"--nats-url=" + off.URL()}, "1 of 3 checks failed", []string{
			"ok    version", "FAIL  jetstream    JetStream is off", "config.jetstream.enabled=true of the NATS chart",
		}},
		"JetStream is in a domain": {[]string{"--nats-url=" + leaf.URL()}, "1 of 3 checks failed", []string{"FAIL  jetstream    JetStream is off", "name it: --nats-jetstream-domain"}},
		"the domain":               {[]string{"--nats-url=" + leaf.URL(), "--nats-jetstream-domain=far"}, "", []string{"ok    jetstream    on: 0 streams"}},
		"another domain": {[]string{"--nats-url=" + leaf.URL(), "--nats-jetstream-domain=near"}, "1 of 3 checks failed", []string{
			"no JetStream answers in domain near: check --nats-jetstream-domain",
		}},
		"JetStream is off for the account": {as("plain"), "1 of 3 checks failed", []string{"FAIL  jetstream    JetStream is off", "the account of the user"}},
		"no file storage": {as("no-room"), "1 of 3 checks failed", []string{
			"FAIL  jetstream    the account has used or reserved 0 bytes of file storage of at most 0: raise its limit",
		}},
		"may not ask": {as("shut"), "1 of 3 checks failed", []string{"FAIL  jetstream", "must be allowed to publish to $JS.API.INFO"}},
		"nobody there": {[]string{"--nats-url=nats://127.0.0.1:1"}, "3 of 3 checks failed", []string{
			"FAIL  nats         NATS at nats://127.0.0.1:1 is unreachable", "check the URL (nats.url of the chart)", "FAIL  jetstream    not known: NATS is not reached",
		}},
		"wrong password": {append(as("plain")[:2], "--nats-password="+os.DevNull), "3 of 3 checks failed", []string{"FAIL  nats"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			printed, err := millrace(t, append([]string{"--cluster=false"}, c.args...)...)
			if got := fmt.Sprint(err); (c.failed == "") != (err == nil) || (c.failed != "" && got != c.failed) {
				t.Errorf("got error %v, want %q\n%s", err, c.failed, printed)
			}
			wants(t, printed, c.want...)
			if strings.Contains(printed, "marked-secret") {
				t.Errorf("the password is printed:\n%s", printed)
			}
		})
	}
}

// TestCluster walks from an empty cluster to one with an operator that leads, and on to one whose operator has
// gone.
func TestCluster(t *testing.T) {
	plane := harness.StartAPIServer(t)
	t.Setenv("KUBECONFIG", plane.Kubeconfig())
	args := []string{"--leader-election-namespace=default"}

	printed, err := millrace(t, args...)
	wants(t, fmt.Sprint(err), "2 of 2 checks failed")
	wants(t, printed, "FAIL  definitions  the cluster has no definition of pipelines in millrace.dev/v1alpha1: install the chart with crds.enabled=true",
		"FAIL  operator     no operator has led yet in namespace default: look at its pods and their log")

	if err := plane.InstallCRDs("../../config/crd/bases"); err != nil {
		t.Fatal(err)
	}
	leases := plane.Client().CoordinationV1().Leases("default")
	lease, err := leases.Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: operator.LeaseName},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("millrace-1"), LeaseDurationSeconds: new(int32(15)), RenewTime: new(metav1.NewMicroTime(time.Now())),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 20*time.Second, func() error { // discovery follows the definitions
		printed, err = millrace(t, args...)
		return err
	})
	wants(t, printed, "ok    definitions  the cluster has pipelines and stages of millrace.dev/v1alpha1", "ok    operator     millrace-1 leads")

	lease.Spec.RenewTime = new(metav1.NewMicroTime(time.Now().Add(-time.Minute)))
	if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	printed, err = millrace(t, args...)
	wants(t, fmt.Sprint(err), "1 of 2 checks failed")
	wants(t, printed, "FAIL  operator     millrace-1 led until 1m", "nobody has taken over")
}

// TestUsage: wrong flags are told from what is wrong with an installation.
func TestUsage(t *testing.T) {
	cases := map[string]struct {
		args []string
		want string
	}{
		"nothing to check":        {[]string{"--cluster=false"}, "nothing to check: give --nats-url"},
		"password in the URL":     {[]string{"--nats-url=nats://me:secret@nats:4222"}, "holds a user or password"},
		"no time":                 {[]string{"--timeout=1ms"}, "--timeout is 1ms: at least 1s"},
		"a leader and no cluster": {[]string{"--nats-url=nats://nats:4222", "--cluster=false", "--leader-election-namespace=x"}, "needs --cluster"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			printed, err := millrace(t, c.args...)
			if wrong := (usage.Error{}); !errors.As(err, &wrong) {
				t.Errorf("got %v, want wrong usage\n%s", err, printed)
			}
			wants(t, fmt.Sprint(err), c.want)
		})
	}
}
