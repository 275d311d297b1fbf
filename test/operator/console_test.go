package operator_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/controllers/console/identity"
)

const (
	proxySecret = "secret-of-the-proxy-in-front"
	confirm     = "X-Millrace-Console"
)

// consoleService is the Service of the console, and the name of the Secret with its certificate.
var consoleService = types.NamespacedName{Namespace: operatorAccount.Namespace, Name: "millrace-console"}

// installConsoleRights makes the objects of config/console that the operator needs.
func (w *world) installConsoleRights(ctx context.Context) error {
	objects, err := manifests("console", "certificate.yaml")
	if err != nil {
		return err
	}
	for _, object := range objects {
		if err := w.client.Create(ctx, object); err != nil {
			return fmt.Errorf("%s: %w", object.GetName(), err)
		}
	}
	return nil
}

// browser is a client of the console, that trusts the authority which the operator has made.
func (x *tenant) browser() *http.Client {
	x.t.Helper()
	roots := x509.NewCertPool()
	x.eventually(func() error {
		var secret corev1.Secret
		if err := x.client.Get(x.t.Context(), consoleService, &secret); err != nil {
			return err
		}
		if !roots.AppendCertsFromPEM(secret.Data["ca.crt"]) {
			return errors.New("the Secret of the console has no authority")
		}
		return nil
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, ForceAttemptHTTP2: true}
	x.t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport}
	x.eventually(func() error {
		r, err := c.Get("https://" + x.console + "/")
		if err != nil {
			return err
		}
		return r.Body.Close()
	})
	return c
}

// page is an answer of the console.
type page struct {
	status int
	header http.Header
	body   string
}

// request makes a request to the console, with headers as pairs.
func (x *tenant) request(method, path, body string, header ...string) *http.Request {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), method, "https://"+x.console+path, strings.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	if method != http.MethodGet {
		r.Header.Set(confirm, "1")
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (x *tenant) ask(c *http.Client, r *http.Request) page {
	x.t.Helper()
	response, err := c.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return page{response.StatusCode, response.Header, string(body)}
}

// token is one of a ServiceAccount of the tenant, which may use the verbs on the Pipelines there.
func (x *tenant) token(name, audience string, verbs ...string) string {
	x.t.Helper()
	x.create(&corev1.ServiceAccount{ObjectMeta: x.named(name)})
	if len(verbs) > 0 {
		x.create(
			&rbacv1.Role{ObjectMeta: x.named(name), Rules: []rbacv1.PolicyRule{{APIGroups: []string{"millrace.dev"}, Resources: []string{"pipelines"}, Verbs: verbs}}},
			&rbacv1.RoleBinding{
				ObjectMeta: x.named(name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
				Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: x.ns, Name: name}},
			})
	}
	request := &authenticationv1.TokenRequest{}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	answer, err := x.plane.Client().CoreV1().ServiceAccounts(x.ns).CreateToken(x.t.Context(), name, request, metav1.CreateOptions{})
	if err != nil {
		x.t.Fatal(err)
	}
	return answer.Status.Token
}

func (x *tenant) path(of, what string) string {
	return "/api/v1/pipelines/" + x.ns + "/" + of + "/" + what
}

// TestConsoleShowsWhatAUserMaySee: tokens of ServiceAccounts, Roles of two namespaces, and what each of them is shown.
func TestConsoleShowsWhatAUserMaySee(t *testing.T) {
	x := newTenant(t)
	y := nextTenant(t)
	x.dropStreams()
	y.dropStreams()
	x.start(x.small())
	y.start(y.small())
	c := x.browser()
	viewer, console := x.token("viewer", "", "get", "list"), x.token("guest", identity.Audience, "get", "list")
	stranger, elsewhere := x.token("stranger", ""), x.token("elsewhere", "somewhere.else", "get", "list")
	own, other := `"namespace":"`+x.ns+`","name":"obs"`, `"namespace":"`+y.ns+`","name":"obs"`
	for name, test := range map[string]struct {
		path, token string
		status      int
		want, never string
	}{
		"the page needs no token":           {"/", "", 200, "/assets/main.js", ""},
		"no token":                          {"/api/v1/pipelines", "", 401, "Unauthorized", "obs"},
		"no token, live":                    {x.path("obs", "flow"), "", 401, "Unauthorized", "obs/"},
		"a made-up token":                   {"/api/v1/pipelines", "x.y.z", 401, "does not know the token", "obs"},
		"a token for something else":        {"/api/v1/pipelines", elsewhere, 401, "does not know the token", "obs"},
		"a viewer sees its namespace":       {"/api/v1/pipelines", viewer, 200, own, other},
		"a token for the console alone":     {"/api/v1/pipelines", console, 200, own, other},
		"who is known":                      {"/api/v1/about", viewer, 200, `"user":"system:serviceaccount:` + x.ns + `:viewer"`, `"session":true`},
		"a viewer opens its pipeline":       {x.path("obs", "graph"), viewer, 200, `"name":"validate"`, ""},
		"a viewer reads events":             {x.path("obs", "events"), viewer, 200, `"events":[`, ""},
		"a viewer opens another":            {y.path("obs", "graph"), viewer, 403, "may not get pipeline obs in namespace " + y.ns, "validate"},
		"a viewer watches another":          {y.path("obs", "flow"), viewer, 403, "Forbidden", "validate"},
		"one of another that is not there":  {y.path("none", "graph"), viewer, 403, "Forbidden", ""},
		"one that is not there":             {x.path("none", "graph"), viewer, 404, "NotFound", ""},
		"a stranger sees nothing":           {"/api/v1/pipelines", stranger, 200, `{"pipelines":[]}`, "obs"},
		"a stranger opens a pipeline":       {x.path("obs", "graph"), stranger, 403, "Forbidden", "validate"},
		"a viewer downloads from another":   {y.path("obs", "tap/ndjson"), viewer, 403, "Forbidden", ""},
		"a viewer looks at jobs of another": {y.path("obs", "jobs"), viewer, 403, "Forbidden", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var header []string
			if test.token != "" {
				header = []string{"Authorization", "Bearer " + test.token}
			}
			got := x.ask(c, x.request("GET", test.path, "", header...))
			if got.status != test.status || !strings.Contains(got.body, test.want) || test.never != "" && strings.Contains(got.body, test.never) {
				t.Errorf("got %d %.500s\nwant %d with %q, without %q", got.status, got.body, test.status, test.want, test.never)
			}
			if test.status == 401 && got.header.Get("WWW-Authenticate") == "" {
				t.Error("the answer does not say how to authenticate")
			}
		})
	}
}

// TestConsoleSessions: signing in makes a cookie that only this host gets, by TLS, and no script; it opens what the token opens, and is of no use when
// somebody changed it.
func TestConsoleSessions(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	x.start(x.small())
	c := x.browser()
	token := x.token("viewer", "", "get", "list")
	in := x.ask(c, x.request("POST", "/api/v1/session", `{"token":"`+token+`"}`))
	cookies := (&http.Response{Header: in.header}).Cookies()
	if in.status != 200 || len(cookies) != 1 || !strings.Contains(in.body, ":viewer") {
		t.Fatalf("got %d %s with %d cookies, want one", in.status, in.body, len(cookies))
	}
	cookie := cookies[0]
	if !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" || !strings.HasPrefix(cookie.Name, "__Host-") {
		t.Errorf("got the cookie %s", cookie)
	}
	if strings.Contains(cookie.Value, token) || strings.Contains(in.body, token) {
		t.Error("the answer holds the token")
	}
	with := func(value string) string { return cookie.Name + "=" + value }
	flipped := []byte(cookie.Value)
	flipped[len(flipped)/2] ^= 1
	for name, test := range map[string]struct {
		request *http.Request
		status  int
		want    string
	}{
		"the session":             {x.request("GET", "/api/v1/about", "", "Cookie", with(cookie.Value)), 200, `"session":true`},
		"its pipeline":            {x.request("GET", x.path("obs", "graph"), "", "Cookie", with(cookie.Value)), 200, "validate"},
		"a changed session":       {x.request("GET", "/api/v1/about", "", "Cookie", with(string(flipped))), 401, "none of this console"},
		"the token as a session":  {x.request("GET", "/api/v1/about", "", "Cookie", with(token)), 401, "none of this console"},
		"a wrong token":           {x.request("POST", "/api/v1/session", `{"token":"wrong"}`), 401, "does not know the token"},
		"no token":                {x.request("POST", "/api/v1/session", `{}`), 400, "token"},
		"from another site":       {x.request("POST", "/api/v1/session", `{"token":"`+token+`"}`, "Origin", "https://evil.example"), 403, "CrossSite"},
		"by a form":               {x.request("POST", "/api/v1/session", `{"token":"`+token+`"}`, confirm, ""), 403, "NotConfirmed"},
		"a script elsewhere":      {x.request("GET", "/api/v1/about", "", "Cookie", with(cookie.Value), "Sec-Fetch-Site", "cross-site"), 403, "CrossSite"},
		"under another name":      {x.request("GET", "/api/v1/about", "", "Cookie", with(cookie.Value), "Host", "evil.example"), 421, "WrongHost"},
		"by the name of its Host": {x.request("GET", "/api/v1/about", "", "Cookie", with(cookie.Value), "Host", "console.example.com"), 200, "viewer"},
		"by its Service":          {x.request("GET", "/api/v1/about", "", "Cookie", with(cookie.Value), "Host", "millrace-console.default.svc:443"), 200, "viewer"},
	} {
		t.Run(name, func(t *testing.T) {
			got := x.ask(c, test.request)
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %s, want %d with %q", got.status, got.body, test.status, test.want)
			}
			if test.status != 200 && got.header.Get("Set-Cookie") != "" {
				t.Errorf("the answer sets %s", got.header.Get("Set-Cookie"))
			}
		})
	}
	out := x.ask(c, x.request("DELETE", "/api/v1/session", "", "Cookie", with(cookie.Value)))
	if ended := (&http.Response{Header: out.header}).Cookies(); out.status != 200 || len(ended) != 1 || ended[0].MaxAge >= 0 || ended[0].Value != "" {
		t.Errorf("signing out: got %d and %v, want the cookie deleted", out.status, ended)
	}
}

// TestConsoleBehindAProxy: who knows the secret names users, and nobody else does.
func TestConsoleBehindAProxy(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	x.start(x.small())
	c := x.browser()
	x.create(
		&rbacv1.Role{ObjectMeta: x.named("see"), Rules: []rbacv1.PolicyRule{{APIGroups: []string{"millrace.dev"}, Resources: []string{"pipelines"}, Verbs: []string{"get", "list"}}}},
		&rbacv1.RoleBinding{
			ObjectMeta: x.named("see"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "see"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: x.ns + "-team"}},
		})
	const user, groups = "X-Forwarded-User", "X-Forwarded-Groups"
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"a user of the team":        {[]string{identity.SecretHeader, proxySecret, user, "ann", groups, "all," + x.ns + "-team"}, 200},
		"a user of another team":    {[]string{identity.SecretHeader, proxySecret, user, "ann", groups, "all"}, 403},
		"without the secret":        {[]string{user, "ann", groups, x.ns + "-team"}, 401},
		"with another secret":       {[]string{identity.SecretHeader, proxySecret + "!", user, "ann", groups, x.ns + "-team"}, 401},
		"a group of Kubernetes":     {[]string{identity.SecretHeader, proxySecret, user, "ann", groups, "system:masters"}, 403},
		"a user of Kubernetes":      {[]string{identity.SecretHeader, proxySecret, user, "system:admin", groups, x.ns + "-team"}, 401},
		"nobody behind the proxy":   {[]string{identity.SecretHeader, proxySecret, user, "", groups, x.ns + "-team"}, 401},
		"a proxy that names nobody": {[]string{identity.SecretHeader, proxySecret}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			if got := x.ask(c, x.request("GET", x.path("obs", "graph"), "", test.header...)); got.status != test.status {
				t.Errorf("got %d %s, want %d", got.status, got.body, test.status)
			}
		})
	}
}

// TestConsoleEndsWhatIsRevoked: a live page ends when its user has lost the right to see it.
func TestConsoleEndsWhatIsRevoked(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	x.start(x.small())
	c := x.browser()
	token := x.token("viewer", "", "get", "list")
	response, err := c.Do(x.request("GET", x.path("obs", "flow"), "", "Authorization", "Bearer "+token))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (kind, data string) {
		for lines.Scan() {
			if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = k
			}
			if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return kind, d
			}
		}
		return "closed", fmt.Sprint(lines.Err())
	}
	if kind, data := next(); response.StatusCode != 200 || kind != "flow" {
		t.Fatalf("got %d, %s %s, want the flow", response.StatusCode, kind, data)
	}
	x.delete(&rbacv1.RoleBinding{ObjectMeta: x.named("viewer")})
	revoked := time.Now()
	for kind, data := next(); ; kind, data = next() {
		if kind == "flow" && time.Since(revoked) < time.Minute {
			continue
		}
		if kind != "problem" || !strings.Contains(data, "Forbidden") {
			t.Fatalf("got %s %s after %s, want the problem Forbidden within a minute", kind, data, time.Since(revoked))
		}
		t.Logf("ended after %s", time.Since(revoked).Round(time.Second))
		break
	}
	if got := x.ask(c, x.request("GET", x.path("obs", "graph"), "", "Authorization", "Bearer "+token)); got.status != 403 {
		t.Errorf("afterwards: got %d %s", got.status, got.body)
	}
}

// TestConsoleReplays: who may update a Pipeline replays its dead letters, and who only sees it does not.
func TestConsoleReplays(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	x.start(x.small())
	c := x.browser()
	viewer, editor := x.token("viewer", "", "get", "list"), x.token("editor", "", "get", "list", "update")
	for n := range 3 {
		m := nats.NewMsg(x.ns + ".obs.dead-letter.validate.0")
		m.Header.Set("Millrace-Stage", "validate")
		m.Header.Set("Millrace-Reason", "rule")
		m.Header.Set("Millrace-Subject", x.ns+".obs.raw.x")
		m.Data = fmt.Appendf(nil, `{"id":"dead-%d","source":"/test","type":"test"}`, n)
		if _, err := x.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	replay := func(token string, header ...string) page {
		return x.ask(c, x.request("POST", x.path("obs", "jobs"), `{"reason":"rule"}`, append([]string{"Authorization", "Bearer " + token}, header...)...))
	}
	if got := replay(viewer); got.status != 403 || !strings.Contains(got.body, "may not update pipeline obs") {
		t.Errorf("a viewer: got %d %s", got.status, got.body)
	}
	if got := replay(editor, "Origin", "https://evil.example"); got.status != 403 || !strings.Contains(got.body, "CrossSite") {
		t.Errorf("an editor, from another site: got %d %s", got.status, got.body)
	}
	if got := replay(editor, confirm, ""); got.status != 403 || !strings.Contains(got.body, "NotConfirmed") {
		t.Errorf("an editor, by a form: got %d %s", got.status, got.body)
	}
	if got := replay(editor); got.status != 200 {
		t.Fatalf("an editor: got %d %s", got.status, got.body)
	}
	x.eventually(func() error {
		got := x.ask(c, x.request("GET", x.path("obs", "jobs"), "", "Authorization", "Bearer "+viewer))
		var answer struct {
			Jobs []struct {
				State     string
				Published int
			}
		}
		if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
			return err
		}
		if len(answer.Jobs) != 1 || answer.Jobs[0].State != "done" || answer.Jobs[0].Published != 3 {
			return fmt.Errorf("got %s, want a job that has published 3", got.body)
		}
		return nil
	})
	info, err := x.js.Stream(t.Context(), x.stream("raw"))
	if err != nil {
		t.Fatal(err)
	}
	if n := info.CachedInfo().State.Msgs; n != 3 {
		t.Errorf("the ingress holds %d messages, want the 3 that were replayed", n)
	}
}

// TestConsoleShowsNoStreamOfOthers: the operator may read every stream. Who writes a Pipeline that names one of another namespace sees nothing of it.
func TestConsoleShowsNoStreamOfOthers(t *testing.T) {
	x := newTenant(t)
	y := nextTenant(t)
	x.dropStreams()
	y.dropStreams()
	x.start(x.small())
	if _, err := x.js.Publish(t.Context(), x.ns+".obs.raw.x", []byte(`{"id":"private-1","source":"/test","type":"test"}`)); err != nil {
		t.Fatal(err)
	}
	thief := y.small()
	thief.Spec.Ingress.Stream = x.stream("raw")
	y.create(thief)
	c := x.browser()
	owner, token := x.token("owner", "", "get", "list"), y.token("thief", "", "get", "list", "update")
	if got := x.ask(c, x.request("GET", x.path("obs", "events?since=1h"), "", "Authorization", "Bearer "+owner)); !strings.Contains(got.body, "private-1") {
		t.Fatalf("its owner: got %d %s", got.status, got.body)
	}
	for _, what := range []string{"events?since=1h", "tap?since=1h&follow=false", "tap/ndjson?since=1h", "trace?id=private-1", "letters", "incidents"} {
		got := x.ask(c, x.request("GET", y.path("obs", what), "", "Authorization", "Bearer "+token))
		if got.status != 400 || strings.Contains(got.body, "private-1") || !strings.Contains(got.body, "does not belong to pipeline "+y.ns+"/obs") {
			t.Errorf("%s: got %d %.400s", what, got.status, got.body)
		}
	}
	if got := x.ask(c, x.request("POST", y.path("obs", "jobs"), "{}", "Authorization", "Bearer "+token)); got.status != 400 {
		t.Errorf("a replay: got %d %s", got.status, got.body)
	}
}
