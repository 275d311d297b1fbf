package console

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view"
)

// shop is the pipeline of the tests.
var shop = view.Name{Namespace: "shop", Name: "orders"}

const shopPath = "/api/v1/pipelines/shop/orders/"

// fixed is a Reader with answers that a test knows: what is tested here is HTTP. test/browser asks a real one.
type fixed struct {
	view.Reader
	flows   atomic.Int32 // that are watched
	letter  view.Letter
	tapped  []view.Stored
	failing error
}

func (f *fixed) check(of view.Name) error {
	if f.failing != nil {
		return f.failing
	}
	if of != shop {
		return fmt.Errorf("pipeline %s/%s: %w", of.Namespace, of.Name, view.ErrNotFound)
	}
	return nil
}

func (f *fixed) Pipelines(context.Context) ([]view.Pipeline, error) {
	return []view.Pipeline{{Name: shop, Ready: true, Stages: 1}, {Name: view.Name{Namespace: "bank", Name: "ledger"}}}, f.failing
}

func (f *fixed) Graph(_ context.Context, of view.Name) (*view.Graph, error) {
	return &view.Graph{
		Name: shop, Stages: []view.Stage{{Name: "check", Ports: []string{"out"}}},
		Edges: []view.Edge{{From: "ingress", To: "check", Stream: "RAW"}, {From: "check", Port: "out", Stream: "OUT"}},
	}, f.check(of)
}

func number64[T any](v T) *T { return &v }

func (f *fixed) reading() *view.Flow {
	return &view.Flow{
		At:     time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
		Stages: []view.StageFlow{{Stage: "check", P99: number64(view.Seconds(250 * time.Millisecond)), Health: "slow", Why: "it falls behind"}},
		Edges:  []view.EdgeFlow{{Events: number64(12.5), Lag: number64(int64(7))}, {}},
	}
}

func (f *fixed) Flow(ctx context.Context, of view.Name, send func(*view.Flow) error) error {
	if err := f.check(of); err != nil {
		return err
	}
	f.flows.Add(1)
	defer f.flows.Add(-1)
	if err := send(f.reading()); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *fixed) History(_ context.Context, of view.Name) ([]*view.Flow, error) {
	return []*view.Flow{f.reading()}, f.check(of)
}

func (f *fixed) Tap(ctx context.Context, of view.Name, o view.TapOptions, send func(*view.Stored) error) error {
	if err := f.check(of); err != nil {
		return err
	}
	if o.Filter == "wrong" {
		return fmt.Errorf("filter: %w: undeclared reference to 'wrong'", view.ErrInvalid)
	}
	for i := range f.tapped {
		if err := send(&f.tapped[i]); err != nil {
			return err
		}
	}
	if o.Follow {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (f *fixed) Incidents(_ context.Context, of view.Name, _ view.IncidentOptions) ([]view.Incident, error) {
	return []view.Incident{{ID: "i1", Title: "it broke", Evidence: []view.Evidence{{EventID: "e1"}}, Event: json.RawMessage(`{}`)}}, f.check(of)
}

func (f *fixed) DeadLetters(_ context.Context, of view.Name, _ view.LetterOptions) (*view.Letters, error) {
	l := f.letter
	return &view.Letters{Letters: []view.Letter{l}, Groups: []view.LetterGroup{{Stage: "check", Reason: "rule_failed", Count: 3}}}, f.check(of)
}

func (f *fixed) DeadLetter(_ context.Context, of view.Name, sequence uint64) (*view.Letter, error) {
	if sequence != f.letter.Sequence {
		return nil, fmt.Errorf("dead letter %d: %w", sequence, view.ErrNotFound)
	}
	l := f.letter
	return &l, f.check(of)
}

// jobs is an Editor that remembers.
type jobs struct {
	deadletter.Editor
	asked []deadletter.ReplayOptions
	purge []deadletter.PurgeOptions
	ran   chan string
}

func (j *jobs) Start(_ context.Context, _ view.Name, o deadletter.ReplayOptions) (*deadletter.Job, error) {
	j.asked = append(j.asked, o)
	return &deadletter.Job{ID: "1", Options: o, State: deadletter.StateRunning}, nil
}

func (j *jobs) Run(_ context.Context, _ view.Name, id string, _ func(*deadletter.Job)) (*deadletter.Job, error) {
	j.ran <- id
	return nil, nil
}

func (j *jobs) Jobs(context.Context, view.Name) ([]deadletter.Job, error) {
	return []deadletter.Job{{ID: "1", State: deadletter.StateDone}, {ID: "3", State: deadletter.StateRunning}}, nil
}

func (j *jobs) Cancel(_ context.Context, _ view.Name, id string) (*deadletter.Job, error) {
	if id == "2" {
		return nil, deadletter.ErrEnded
	}
	return &deadletter.Job{ID: id, State: deadletter.StateCancelled}, nil
}

func (j *jobs) Purge(_ context.Context, _ view.Name, o deadletter.PurgeOptions) (*deadletter.Purged, error) {
	j.purge = append(j.purge, o)
	if o.Stage == "broken" {
		return &deadletter.Purged{Removed: 2, Last: 8}, errors.New("the connection is lost")
	}
	return &deadletter.Purged{Removed: 3, Kept: 1, Last: 9, More: o.Limit > 0}, nil
}

func newJobs() *jobs { return &jobs{ran: make(chan string, 10)} }

func start(t *testing.T, o Options) *httptest.Server {
	t.Helper()
	if o.Reader == nil {
		o.Reader = &fixed{}
	}
	handler, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = Server(handler)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with headers as pairs; Host is one of them.
func ask(t *testing.T, server *httptest.Server, method, path, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

func TestWhoMayAsk(t *testing.T) {
	const page, api = "/", "/api/v1/pipelines"
	tests := map[string]struct {
		method, path string
		header       []string
		want         int
		reason       string
	}{
		"the address":                 {path: api, want: 200},
		"localhost":                   {path: api, header: []string{"Host", "localhost:8642"}, want: 200},
		"a loopback address, IPv6":    {path: api, header: []string{"Host", "[::1]:8642"}, want: 200},
		"a name that was allowed":     {path: api, header: []string{"Host", "Console.Example.com"}, want: 200},
		"a name that leads here":      {path: api, header: []string{"Host", "evil.example"}, want: 421, reason: "WrongHost"},
		"a page under such a name":    {path: page, header: []string{"Host", "evil.example:8642"}, want: 421, reason: "WrongHost"},
		"a name that looks alike":     {path: api, header: []string{"Host", "localhost.evil.example"}, want: 421, reason: "WrongHost"},
		"a link from another site":    {path: page, header: []string{"Sec-Fetch-Site", "cross-site"}, want: 200},
		"a script of another site":    {path: api, header: []string{"Sec-Fetch-Site", "cross-site"}, want: 403, reason: "CrossSite"},
		"a script of a sister site":   {path: api, header: []string{"Sec-Fetch-Site", "same-site"}, want: 403, reason: "CrossSite"},
		"a script of the same page":   {path: api, header: []string{"Sec-Fetch-Site", "same-origin"}, want: 200},
		"typed into the address bar":  {path: api, header: []string{"Sec-Fetch-Site", "none"}, want: 200},
		"another origin":              {path: api, header: []string{"Origin", "https://evil.example"}, want: 403, reason: "CrossSite"},
		"no origin at all":            {path: api, header: []string{"Origin", "null"}, want: 403, reason: "CrossSite"},
		"a change without its header": {method: "POST", path: shopPath + "jobs", want: 403, reason: "NotConfirmed"},
		"a purge without its header":  {method: "POST", path: shopPath + "letters/purge", want: 403, reason: "NotConfirmed"},
		"a purge from another site":   {method: "POST", path: shopPath + "letters/purge", header: []string{confirm, "1", "Sec-Fetch-Site", "cross-site"}, want: 403, reason: "CrossSite"},
		"a change from another site":  {method: "POST", path: shopPath + "jobs", header: []string{confirm, "1", "Sec-Fetch-Site", "cross-site"}, want: 403, reason: "CrossSite"},
		"a change of another origin":  {method: "DELETE", path: shopPath + "jobs/1", header: []string{confirm, "1", "Origin", "http://127.0.0.1:1"}, want: 403, reason: "CrossSite"},
		"a change from nowhere":       {method: "POST", path: shopPath + "jobs", header: []string{confirm, "1", "Sec-Fetch-Site", "none"}, want: 403, reason: "CrossSite"},
		"a change of a page":          {method: "POST", path: page, want: 403, reason: "NotConfirmed"},
		"nothing there":               {path: "/api/v1/nothing", want: 404, reason: "NotFound"},
		"another method":              {method: "PUT", path: api, header: []string{confirm, "1"}, want: 404, reason: "NotFound"},
	}
	server := start(t, Options{Editor: newJobs(), Hosts: []string{"console.example.com"}})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			method := test.method
			if method == "" {
				method = "GET"
			}
			got := ask(t, server, method, test.path, "{}", test.header...)
			if got.status != test.want {
				t.Errorf("got %d %s, want %d", got.status, got.body, test.want)
			}
			if test.reason != "" && !strings.Contains(got.body, `"reason":"`+test.reason+`"`) {
				t.Errorf("got %s, want reason %s", got.body, test.reason)
			}
			for _, h := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options", "Cross-Origin-Resource-Policy"} {
				if got.header.Get(h) == "" {
					t.Errorf("no header %s", h)
				}
			}
			if csp := got.header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("got policy %q", csp)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	reader := &fixed{letter: view.Letter{Sequence: 7, Stage: "check", Body: []byte(strings.Repeat("x", 100_000)), Size: 100_000}}
	reader.tapped = []view.Stored{{Port: "check/out", ID: "a", Event: json.RawMessage(`{"id":"a"}`)}, {ID: "big", Event: json.RawMessage(`"` + strings.Repeat("y", 20_000) + `"`)}}
	server := start(t, Options{Reader: reader})
	tests := map[string]struct {
		path   string
		status int
		want   string // part of the body
		never  string
	}{
		"about":                  {path: "/api/v1/about", status: 200, want: `"readOnly":true`},
		"list":                   {path: "/api/v1/pipelines", status: 200, want: `"namespace":"shop","name":"orders","ready":true`},
		"graph":                  {path: shopPath + "graph", status: 200, want: `"stages":[{"name":"check"`},
		"another pipeline":       {path: "/api/v1/pipelines/shop/other/graph", status: 404, want: "pipeline shop/other"},
		"history of a stage":     {path: shopPath + "history?stage=check", status: 200, want: `"p99":[0.25]`},
		"history of an edge":     {path: shopPath + "history?edge=0", status: 200, want: `"lag":[7]`},
		"history of nothing":     {path: shopPath + "history", status: 400, want: "give stage, or edge"},
		"history of a wrong one": {path: shopPath + "history?edge=-1", status: 400, want: "edge"},
		"events":                 {path: shopPath + "events?port=check/out", status: 200, want: `"size":20002`, never: "yyyy"},
		"a filter that is wrong": {path: shopPath + "events?filter=wrong", status: 400, want: "undeclared reference"},
		"a time that is none":    {path: shopPath + "events?since=yesterday", status: 400, want: "15m"},
		"too many":               {path: shopPath + "events?limit=-1", status: 400, want: "limit"},
		"no id":                  {path: shopPath + "trace", status: 400, want: "give id"},
		"incidents":              {path: shopPath + "incidents", status: 200, want: `"links":1`, never: "e1"},
		"an incident":            {path: shopPath + "incidents/i1", status: 200, want: `"eventId":"e1"`},
		"an incident that is no": {path: shopPath + "incidents/i2", status: 404, want: "i2"},
		"letters":                {path: shopPath + "letters", status: 200, want: `"count":3`, never: "eHh4"},
		"a letter, cut":          {path: shopPath + "letters/7", status: 200, want: `"cut":true`},
		"a letter that is no":    {path: shopPath + "letters/8", status: 404, want: "dead letter 8"},
		"no sequence":            {path: shopPath + "letters/x", status: 400, want: "no sequence"},
		"jobs, read-only":        {path: shopPath + "jobs", status: 200, want: `"jobs":[],"mayReplay":false`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ask(t, server, "GET", test.path, "")
			if got.status != test.status || !strings.Contains(got.body, test.want) || test.never != "" && strings.Contains(got.body, test.never) {
				t.Errorf("got %d %.400s\nwant %d with %q, without %q", got.status, got.body, test.status, test.want, test.never)
			}
			if kind := got.header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
				t.Errorf("got Content-Type %q", kind)
			}
		})
	}
}

// TestErrorsSayWhatToDo: an error that is none of the reader's own means that NATS could not be asked.
func TestErrorsSayWhatToDo(t *testing.T) {
	server := start(t, Options{Reader: &fixed{failing: errors.New("nats: no servers")}})
	forbidden := start(t, Options{Reader: &fixed{failing: fmt.Errorf("read stream S: %w", &jetstream.ForbiddenError{Subject: "$JS.API.DIRECT.GET.S", Err: context.DeadlineExceeded})}})
	if got := ask(t, forbidden, "GET", shopPath+"graph", ""); got.status != 503 || !strings.Contains(got.body, "$JS.API.DIRECT.GET.S") || !strings.Contains(got.body, "nats-permissions --console") {
		t.Errorf("a right that is missing: got %d %s", got.status, got.body)
	}
	got := ask(t, server, "GET", shopPath+"graph", "")
	if got.status != 503 || !strings.Contains(got.body, "nats: no servers") || !strings.Contains(got.body, `"do":"Look whether NATS answers`) || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// TestDownloads: what events hold is never shown by a browser as anything.
func TestDownloads(t *testing.T) {
	body := "<script>alert(1)</script>" + strings.Repeat("z", 200_000)
	server := start(t, Options{Reader: &fixed{
		letter: view.Letter{Sequence: 7, Body: []byte(body)},
		tapped: []view.Stored{{ID: "a", Text: "<b>"}, {ID: "b"}},
	}})
	for name, test := range map[string]struct{ path, want string }{
		"a body": {shopPath + "letters/7/body", body},
		"a tap":  {shopPath + "tap/ndjson", `"text":"<b>"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, server, "GET", test.path, "")
			if got.status != 200 || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %.200s", got.status, got.body)
			}
			if got.header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") {
				t.Errorf("got %q, %q: want a file", got.header.Get("Content-Type"), got.header.Get("Content-Disposition"))
			}
		})
	}
	if got := ask(t, server, "GET", shopPath+"letters/8/body", ""); got.status != 404 || !strings.Contains(got.body, `"error"`) {
		t.Errorf("a letter that is none: got %d %s", got.status, got.body)
	}
}

func TestReplay(t *testing.T) {
	confirmed := []string{confirm, "1", "Content-Type", "application/json"}
	tests := map[string]struct {
		readOnly bool
		body     string
		header   []string
		status   int
		want     string
	}{
		"a dry run":         {body: `{"reason":"rule_failed","to":"events.raw.again","rate":10,"dryRun":true}`, header: confirmed, status: 200, want: `"state":"running"`},
		"read-only":         {readOnly: true, body: `{}`, header: confirmed, status: 403, want: "millrace dlq replay and millrace dlq purge do the same"},
		"a form":            {body: `{}`, header: []string{confirm, "1", "Content-Type", "text/plain"}, status: 415, want: "application/json"},
		"an unknown member": {body: `{"everything":true}`, header: confirmed, status: 400, want: "everything"},
		"a negative rate":   {body: `{"rate":-1}`, header: confirmed, status: 400, want: "rate"},
		"too large":         {body: `{"stage":"` + strings.Repeat("x", maxRequest) + `"}`, header: confirmed, status: 400, want: "too large"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			editor := newJobs()
			o := Options{Editor: editor}
			if test.readOnly {
				o.Editor = nil
			}
			got := ask(t, start(t, o), "POST", shopPath+"jobs", test.body, test.header...)
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %.300s, want %d with %q", got.status, got.body, test.status, test.want)
			}
			if asked := len(editor.asked); asked != 0 && test.status != 200 {
				t.Errorf("the editor was asked %d times", asked)
			}
		})
	}
	editor := newJobs()
	server := start(t, Options{Editor: editor})
	ask(t, server, "POST", shopPath+"jobs", `{"reason":"rule_failed","sequences":[3,4],"to":"events.raw.again","rate":10,"again":true}`, confirmed...)
	want := []deadletter.ReplayOptions{{LetterOptions: view.LetterOptions{Reason: "rule_failed"}, Sequences: []uint64{3, 4}, To: "events.raw.again", Rate: 10, Again: true}}
	if diff := cmp.Diff(want, editor.asked); diff != "" {
		t.Error(diff)
	}
	if got := ask(t, server, "DELETE", shopPath+"jobs/1", "", confirmed...); !strings.Contains(got.body, `"state":"cancelled"`) {
		t.Errorf("cancel: got %d %s", got.status, got.body)
	}
	if got := ask(t, server, "DELETE", shopPath+"jobs/2", "", confirmed...); got.status != 409 {
		t.Errorf("cancel what has ended: got %d %s", got.status, got.body)
	}
	if id := <-editor.ran; id != "1" {
		t.Errorf("works on job %q, want the one that was started", id)
	}
	for id, status := range map[string]int{"1": 409, "9": 404} { // one that has ended, and none
		if got := ask(t, server, "POST", shopPath+"jobs/"+id+"/resume", "", confirmed...); got.status != status {
			t.Errorf("resume %s: got %d %s", id, got.status, got.body)
		}
	}
	if got := ask(t, server, "POST", shopPath+"jobs/3/resume", "", confirmed...); got.status != 200 {
		t.Errorf("resume: got %d %s", got.status, got.body)
	}
	if id := <-editor.ran; id != "3" {
		t.Errorf("works on job %q, want the one that is resumed", id)
	}
}

func TestPurge(t *testing.T) {
	confirmed := []string{confirm, "1", "Content-Type", "application/json"}
	counted := view.LetterOptions{Stage: "check", Before: 10}
	at := func(limit int) deadletter.PurgeOptions {
		o := deadletter.PurgeOptions{LetterOptions: counted}
		o.Limit = limit
		return o
	}
	tests := map[string]struct {
		readOnly bool
		body     string
		header   []string
		status   int
		want     string
		asked    []deadletter.PurgeOptions
	}{
		"a dry run":             {body: `{"stage":"check","replayed":true,"dryRun":true}`, header: confirmed, status: 200, want: `{"removed":3,"kept":1,"last":9}`, asked: []deadletter.PurgeOptions{{LetterOptions: view.LetterOptions{Stage: "check"}, Replayed: true, DryRun: true}}},
		"what was counted":      {body: `{"stage":"check","before":10,"limit":2}`, header: confirmed, status: 200, want: `"more":true`, asked: []deadletter.PurgeOptions{at(2)}},
		"without a bound":       {body: `{"stage":"check","before":10}`, header: confirmed, status: 200, want: `"removed":3`, asked: []deadletter.PurgeOptions{at(maxPurge)}},
		"with a negative one":   {body: `{"stage":"check","before":10,"limit":-1}`, header: confirmed, status: 200, want: `"removed":3`, asked: []deadletter.PurgeOptions{at(maxPurge)}},
		"too many at once":      {body: `{"stage":"check","before":10,"limit":1000000}`, header: confirmed, status: 200, want: `"removed":3`, asked: []deadletter.PurgeOptions{at(maxPurge)}},
		"what nobody counted":   {body: `{"stage":"check"}`, header: confirmed, status: 400, want: "make a dry run"},
		"nothing, so not all":   {body: `{}`, header: confirmed, status: 400, want: "make a dry run"},
		"read-only":             {readOnly: true, body: `{"dryRun":true}`, header: confirmed, status: 403, want: "millrace dlq purge"},
		"a form":                {body: `{"before":10}`, header: []string{confirm, "1", "Content-Type", "text/plain"}, status: 415, want: "application/json"},
		"an unknown member":     {body: `{"before":10,"everything":true}`, header: confirmed, status: 400, want: "everything"},
		"a sequence that isn't": {body: `{"before":-1}`, header: confirmed, status: 400, want: "before"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			editor := newJobs()
			o := Options{Editor: editor}
			if test.readOnly {
				o.Editor = nil
			}
			got := ask(t, start(t, o), "POST", shopPath+"letters/purge", test.body, test.header...)
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %.300s, want %d with %q", got.status, got.body, test.status, test.want)
			}
			if diff := cmp.Diff(test.asked, editor.purge); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// access knows two tokens.
type access struct{}

func (access) User(r *http.Request) (User, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token != "viewer" && token != "editor" {
		return User{}, problem{Status: 401, Reason: "Unauthorized", Message: "send a token"}
	}
	return User{Name: token}, nil
}

func (access) Allowed(_ context.Context, u User, verb string, of view.Name) error {
	if of.Namespace != "shop" || verb == VerbUpdate && u.Name != "editor" {
		return fmt.Errorf("%s may not %s pipeline %s/%s: %w", u.Name, verb, of.Namespace, of.Name, ErrForbidden)
	}
	return nil
}

func TestAccess(t *testing.T) {
	tests := map[string]struct {
		method, path, body, token string
		status                    int
		want, never               string
	}{
		"a page needs no token":            {path: "/p/shop/orders", status: 200, want: "<!doctype html>"},
		"nobody":                           {path: "/api/v1/pipelines", status: 401, want: "send a token"},
		"a wrong token":                    {path: shopPath + "graph", token: "x", status: 401},
		"only what a user may see":         {path: "/api/v1/pipelines", token: "viewer", status: 200, want: "orders", never: "ledger"},
		"a pipeline":                       {path: shopPath + "graph", token: "viewer", status: 200},
		"a pipeline of others":             {path: "/api/v1/pipelines/bank/ledger/graph", token: "viewer", status: 403, want: "may not get"},
		"live, of others":                  {path: "/api/v1/pipelines/bank/ledger/flow", token: "viewer", status: 403},
		"a file, of others":                {path: "/api/v1/pipelines/bank/ledger/tap/ndjson", token: "viewer", status: 403},
		"an editor may replay":             {path: shopPath + "jobs", token: "editor", status: 200, want: `"mayReplay":true`},
		"a viewer may not":                 {path: shopPath + "jobs", token: "viewer", status: 200, want: `"mayReplay":false`},
		"to replay":                        {method: "POST", path: shopPath + "jobs", token: "editor", status: 200},
		"to replay, as one who only reads": {method: "POST", path: shopPath + "jobs", token: "viewer", status: 403, want: "may not update"},
		"to purge":                         {method: "POST", path: shopPath + "letters/purge", body: `{"dryRun":true}`, token: "editor", status: 200},
		"to purge, as one who only reads":  {method: "POST", path: shopPath + "letters/purge", body: `{"dryRun":true}`, token: "viewer", status: 403, want: "may not update"},
		"to purge those of others":         {method: "POST", path: "/api/v1/pipelines/bank/ledger/letters/purge", body: `{"dryRun":true}`, token: "editor", status: 403, want: "may not get"},
		"to cancel, as one who only reads": {method: "DELETE", path: shopPath + "jobs/1", token: "viewer", status: 403},
	}
	server := start(t, Options{Editor: newJobs(), Access: access{}})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := []string{confirm, "1", "Content-Type", "application/json"}
			if test.token != "" {
				header = append(header, "Authorization", "Bearer "+test.token)
			}
			method, body := test.method, test.body
			if method == "" {
				method = "GET"
			}
			if body == "" {
				body = "{}"
			}
			got := ask(t, server, method, test.path, body, header...)
			if got.status != test.status || !strings.Contains(got.body, test.want) || test.never != "" && strings.Contains(got.body, test.never) {
				t.Errorf("got %d %s, want %d with %q, without %q", got.status, got.body, test.status, test.want, test.never)
			}
		})
	}
}

func TestPages(t *testing.T) {
	server := start(t, Options{})
	root := ask(t, server, "GET", "/", "", "Accept-Encoding", "identity")
	if !strings.Contains(root.body, "/assets/main.js") || strings.Contains(root.body, "<script>") || strings.Contains(root.body, "style=") {
		t.Errorf("got %s: want a page without inline scripts and styles", root.body)
	}
	if page := ask(t, server, "GET", "/p/shop/orders/incidents?open=true", "", "Accept-Encoding", "identity"); page.body != root.body {
		t.Error("an address of a page does not lead to the page")
	}
	if got := ask(t, server, "GET", "/assets/gone.js", ""); got.status != 404 {
		t.Errorf("a file that is none: got %d", got.status)
	}
	for path, kind := range map[string]string{"/assets/main.js": "text/javascript; charset=utf-8", "/assets/main.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml", "/licenses.txt": "text/plain; charset=utf-8"} {
		t.Run(path, func(t *testing.T) {
			plain := ask(t, server, "GET", path, "", "Accept-Encoding", "identity")
			zipped := ask(t, server, "GET", path, "", "Accept-Encoding", "gzip")
			if plain.status != 200 || plain.header.Get("Content-Type") != kind || zipped.header.Get("Content-Encoding") != "gzip" {
				t.Errorf("got %d %q, encoding %q", plain.status, plain.header.Get("Content-Type"), zipped.header.Get("Content-Encoding"))
			}
			z, err := gzip.NewReader(strings.NewReader(zipped.body))
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(z)
			if err != nil || string(content) != plain.body {
				t.Errorf("gzip holds something else: %v", err)
			}
			again := ask(t, server, "GET", path, "", "Accept-Encoding", "gzip", "If-None-Match", zipped.header.Get("ETag"))
			if again.status != 304 || again.body != "" || plain.header.Get("ETag") == zipped.header.Get("ETag") {
				t.Errorf("got %d with %d bytes: want 304, and a tag for each encoding", again.status, len(again.body))
			}
		})
	}
}

// listen opens a stream, and returns what reads its events.
func listen(t *testing.T, server *httptest.Server, path string, header ...string) (next func() (kind, data string), stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = response.Body.Close() })
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Fatalf("got %d %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return func() (kind, data string) {
		for lines.Scan() {
			line := lines.Text()
			switch {
			case strings.HasPrefix(line, ": "):
				return "comment", line[2:]
			case strings.HasPrefix(line, "event: "):
				kind = line[7:]
			case strings.HasPrefix(line, "data: "):
				return kind, line[6:]
			}
		}
		return "closed", ""
	}, cancel
}

func TestStreams(t *testing.T) {
	reader := &fixed{tapped: []view.Stored{{ID: "a", Text: "line\nbreak"}}}
	server := start(t, Options{Reader: reader, Heartbeat: 20 * time.Millisecond, Refresh: 10 * time.Millisecond})
	t.Run("flow, then signs of life, until the page is closed", func(t *testing.T) {
		next, stop := listen(t, server, shopPath+"flow")
		if kind, data := next(); kind != "flow" || !strings.Contains(data, `"p99":0.25`) {
			t.Errorf("got %s %s", kind, data)
		}
		if kind, data := next(); kind != "comment" {
			t.Errorf("got %s %s, want a sign of life", kind, data)
		}
		stop()
		for deadline := time.Now().Add(10 * time.Second); reader.flows.Load() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the reader still reads after the page was closed")
			}
		}
	})
	t.Run("tap, in batches", func(t *testing.T) {
		next, _ := listen(t, server, shopPath+"tap?port=check/out&follow=false")
		if kind, data := next(); kind != "events" || !strings.Contains(data, `line\nbreak`) {
			t.Errorf("got %s %s", kind, data)
		}
		if kind, _ := next(); kind != "end" {
			t.Errorf("got %s, want end", kind)
		}
	})
	t.Run("incidents, once until they change", func(t *testing.T) {
		next, _ := listen(t, server, shopPath+"incidents/live")
		if kind, data := next(); kind != "incidents" || !strings.Contains(data, "it broke") {
			t.Errorf("got %s %s", kind, data)
		}
		if kind, data := next(); kind != "comment" {
			t.Errorf("got %s %s, want nothing new", kind, data)
		}
	})
	t.Run("all pipelines", func(t *testing.T) {
		next, _ := listen(t, server, "/api/v1/pipelines/live")
		want := []string{`"events":12.5`, `"lag":7`, `"p99":0.25`, `"open":1`, `"deadLetters":3`, `"health":"slow"`, `"why":"check: it falls behind"`}
		for range 100 {
			_, data := next()
			missing := ""
			for _, w := range want {
				if !strings.Contains(data, w) {
					missing = w
				}
			}
			if missing == "" {
				return
			}
		}
		t.Error("the list never had all numbers")
	})
	if got := ask(t, server, "GET", "/api/v1/pipelines/shop/other/flow", ""); got.status != 404 {
		t.Errorf("another pipeline: got %d %s", got.status, got.body)
	}
	if got := ask(t, server, "GET", shopPath+"tap?filter=wrong", ""); got.status != 400 || !strings.Contains(got.body, "undeclared") {
		t.Errorf("a wrong filter: got %d %s", got.status, got.body)
	}
}

// held answers when it is let go.
type held struct {
	fixed

	asked chan struct{}
	let   chan struct{}
}

func (s *held) Pipelines(ctx context.Context) ([]view.Pipeline, error) {
	s.asked <- struct{}{}
	select {
	case <-s.let:
		return s.fixed.Pipelines(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestQuestionsAreBounded: some are answered at the same time, more wait, and one client has not all that wait.
func TestQuestionsAreBounded(t *testing.T) {
	reader := &held{asked: make(chan struct{}, 2*waiting), let: make(chan struct{})}
	server := start(t, Options{Reader: reader})
	statuses := make(chan int, 2*waiting)
	for range waiting + 3 {
		go func() { statuses <- ask(t, server, "GET", "/api/v1/pipelines", "").status }()
	}
	for range 3 {
		if got := <-statuses; got != 429 {
			t.Errorf("got %d, want 429 for who asks more than %d", got, waiting)
		}
	}
	for range answering {
		<-reader.asked
	}
	if len(reader.asked) > 0 {
		t.Errorf("more than %d are answered at the same time", answering)
	}
	close(reader.let)
	for range waiting {
		if got := <-statuses; got != 200 {
			t.Errorf("got %d for one that waited", got)
		}
	}
}

func TestJobsAreBounded(t *testing.T) {
	end := make(chan struct{})
	c := &console{Options: Options{Editor: newJobs()}, workers: &workers{
		working: map[string]bool{}, failed: func(error) {}, run: func(view.Name, string) error { <-end; return nil },
	}}
	for n := range maxWorking {
		if c.workers.busy() {
			t.Errorf("%d jobs are too many", n)
		}
		c.workers.work(view.Name{Namespace: "shop", Name: "orders"}, strconv.Itoa(n))
	}
	r := httptest.NewRequest(http.MethodPost, shopPath+"jobs", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	var p problem
	if _, err := c.replay(r); !errors.As(err, &p) || p.Reason != "TooManyJobs" {
		t.Errorf("got %v, want TooManyJobs", err)
	}
	close(end)
}

func TestStreamsAreBounded(t *testing.T) {
	server := start(t, Options{Streams: 2})
	for range 2 {
		next, _ := listen(t, server, shopPath+"flow")
		next()
	}
	got := ask(t, server, "GET", shopPath+"flow", "")
	if got.status != 429 || !strings.Contains(got.body, "TooManyStreams") || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if got := ask(t, server, "GET", shopPath+"tap/ndjson", ""); got.status != 429 {
		t.Errorf("a download beside them: got %d", got.status)
	}
	l := newLimiter(1, 2)
	a, b := l.take("a"), l.take("b")
	if a == nil || b == nil || l.take("c") != nil {
		t.Error("want two streams of two clients, and none of a third")
	}
	if a(); l.take("a") == nil {
		t.Error("a place that was given back is not free")
	}
}

// stalled is a client that reads nothing: a tap of endless events must end all the same.
type endless struct{ fixed }

func (e *endless) Tap(ctx context.Context, _ view.Name, _ view.TapOptions, send func(*view.Stored) error) error {
	text := strings.Repeat("x", 1500)
	for ctx.Err() == nil {
		if err := send(&view.Stored{Text: text}); err != nil {
			e.flows.Store(1)
			return err
		}
	}
	return ctx.Err()
}

func TestClientThatDoesNotReadLosesItsStream(t *testing.T) {
	reader := &endless{}
	server := start(t, Options{Reader: reader, Patience: 50 * time.Millisecond})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+shopPath+"tap", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	for deadline := time.Now().Add(20 * time.Second); reader.flows.Load() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the stream did not end")
		}
	}
}

// TestStreamsOutliveTheTimeToReadARequest: the time that a request may take to come in is not that of its answer.
func TestStreamsOutliveTheTimeToReadARequest(t *testing.T) {
	handler, err := New(t.Context(), Options{Reader: &fixed{}, Heartbeat: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = Server(handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = time.Second, time.Second
	server.Start()
	t.Cleanup(server.Close)
	next, _ := listen(t, server, shopPath+"flow")
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		if kind, _ := next(); kind == "closed" {
			t.Fatalf("the stream ended after %s", time.Since(began))
		}
	}
}

func TestCheckLoopback(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:0": "", "localhost:80": "", "[::1]:8642": "", "127.9.9.9:1": "",
		":8080": "no loopback", "0.0.0.0:80": "no loopback", "10.0.0.1:80": "no loopback", "example.com:80": "no loopback", "127.0.0.1": "HOST:PORT",
	} {
		err := CheckLoopback(address)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", address, err, want)
		}
	}
}

// sessions knows the tokens of access.
type sessions struct{}

func (sessions) SignIn(w http.ResponseWriter, _ *http.Request, token string) (User, error) {
	if token != "viewer" {
		return User{}, fmt.Errorf("%w: a wrong token", ErrUnauthenticated)
	}
	http.SetCookie(w, &http.Cookie{Name: "session", Value: "sealed"})
	return User{Name: token}, nil
}

func (sessions) SignOut(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: "session", MaxAge: -1})
}

func TestSignIn(t *testing.T) {
	server := start(t, Options{Access: access{}, Sessions: sessions{}})
	const kind = "application/json"
	for name, test := range map[string]struct {
		method, body string
		header       []string
		status       int
		want, cookie string
	}{
		"a token":                 {"POST", `{"token":"viewer"}`, []string{confirm, "1", "Content-Type", kind}, 200, `"user":"viewer"`, "session=sealed"},
		"a wrong token":           {"POST", `{"token":"x"}`, []string{confirm, "1", "Content-Type", kind}, 401, "a wrong token", ""},
		"no token":                {"POST", `{}`, []string{confirm, "1", "Content-Type", kind}, 400, "token", ""},
		"no JSON":                 {"POST", `token=viewer`, []string{confirm, "1", "Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json", ""},
		"too much":                {"POST", `{"token":"` + strings.Repeat("x", maxSignIn) + `"}`, []string{confirm, "1", "Content-Type", kind}, 400, "token", ""},
		"a page of another site":  {"POST", `{"token":"viewer"}`, []string{confirm, "1", "Content-Type", kind, "Origin", "https://evil.example"}, 403, "CrossSite", ""},
		"a form of another site":  {"POST", `{"token":"viewer"}`, []string{"Content-Type", kind}, 403, "NotConfirmed", ""},
		"out":                     {"DELETE", "", []string{confirm, "1"}, 200, "{}", "session="},
		"out, from another site":  {"DELETE", "", []string{confirm, "1", "Sec-Fetch-Site", "cross-site"}, 403, "CrossSite", ""},
		"there is nothing to get": {"GET", "", nil, 404, "NotFound", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, server, test.method, sessionPath, test.body, test.header...)
			if got.status != test.status || !strings.Contains(got.body, test.want) || !strings.HasPrefix(got.header.Get("Set-Cookie"), test.cookie) || test.cookie == "" && got.header.Get("Set-Cookie") != "" {
				t.Errorf("got %d %s, cookie %q; want %d with %q, cookie %q", got.status, got.body, got.header.Get("Set-Cookie"), test.status, test.want, test.cookie)
			}
		})
	}
	if got := ask(t, start(t, Options{}), "POST", sessionPath, `{"token":"viewer"}`, confirm, "1", "Content-Type", kind); got.status != 404 {
		t.Errorf("a console without users: got %d %s", got.status, got.body)
	}
}

// fading takes rights away while somebody looks.
type fading struct {
	access

	gone, stranger, broken atomic.Bool
}

func (f *fading) User(r *http.Request) (User, error) {
	if f.stranger.Load() {
		return User{}, fmt.Errorf("%w: the token has expired", ErrUnauthenticated)
	}
	if f.broken.Load() {
		return User{}, errors.New("nobody answers")
	}
	return f.access.User(r)
}

func (f *fading) Allowed(ctx context.Context, u User, verb string, of view.Name) error {
	if f.gone.Load() {
		return fmt.Errorf("%s: %w", u.Name, ErrForbidden)
	}
	return f.access.Allowed(ctx, u, verb, of)
}

// TestStreamsEndWithTheRights: who may look no longer, or whom nobody knows any more, loses what is open; also when nobody can tell.
func TestStreamsEndWithTheRights(t *testing.T) {
	for name, test := range map[string]struct {
		path   string
		change func(*fading)
		want   string
	}{
		"the right is gone":              {shopPath + "flow", func(f *fading) { f.gone.Store(true) }, `"reason":"Forbidden"`},
		"the token has expired":          {shopPath + "flow", func(f *fading) { f.stranger.Store(true) }, `"reason":"Unauthorized"`},
		"the token has expired, a list":  {"/api/v1/pipelines/live", func(f *fading) { f.stranger.Store(true) }, `"reason":"Unauthorized"`},
		"nobody can tell":                {shopPath + "flow", func(f *fading) { f.broken.Store(true) }, `"status":503`},
		"nothing changed, for very long": {shopPath + "flow", func(*fading) {}, `"reason":"ConnectAgain"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fading{}
			server := start(t, Options{Access: f, Recheck: 5 * time.Millisecond, Lifetime: time.Second, Heartbeat: time.Minute})
			next, _ := listen(t, server, test.path, "Authorization", "Bearer viewer")
			if kind, data := next(); kind != "flow" && kind != "pipelines" {
				t.Fatalf("got %s %s", kind, data)
			}
			test.change(f)
			for kind, data := next(); ; kind, data = next() {
				switch kind {
				case "flow", "pipelines", "comment":
					continue
				case "problem":
					if !strings.Contains(data, test.want) {
						t.Errorf("got %s, want %s", data, test.want)
					}
				default:
					t.Errorf("got %s %s, want a problem", kind, data)
				}
				return
			}
		})
	}
	t.Run("a download", func(t *testing.T) {
		f := &fading{}
		server := start(t, Options{Access: f, Reader: &endless{}, Recheck: 5 * time.Millisecond})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+shopPath+"tap/ndjson", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer viewer")
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		f.gone.Store(true)
		if _, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Error("the file ends as if it were whole")
		}
	})
}

// TestChangesAreLoggedWithTheirUser: who replays is known afterwards.
func TestChangesAreLoggedWithTheirUser(t *testing.T) {
	var b strings.Builder
	server := start(t, Options{Editor: newJobs(), Access: access{}, Log: funcr.New(func(_, args string) { b.WriteString(args + "\n") }, funcr.Options{})})
	if got := ask(t, server, "DELETE", shopPath+"jobs/1", "", confirm, "1", "Authorization", "Bearer editor"); got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	for body, status := range map[string]int{`{"stage":"check","before":10}`: 200, `{"stage":"broken","before":10}`: 503, `{"stage":"check","dryRun":true}`: 200} {
		if got := ask(t, server, "POST", shopPath+"letters/purge", body, confirm, "1", "Content-Type", "application/json", "Authorization", "Bearer editor"); got.status != status {
			t.Fatalf("%s: got %d %s, want %d", body, got.status, got.body, status)
		}
	}
	// What was removed before the failure is known, too; a dry run changes nothing.
	if got := b.String(); strings.Count(got, "purges dead letters") != 2 || !strings.Contains(got, `"removed"=3`) || !strings.Contains(got, `"removed"=2`) {
		t.Errorf("got %s", got)
	}
	if got := b.String(); !strings.Contains(got, `"user"="editor"`) || !strings.Contains(got, `"pipeline"="shop/orders"`) || !strings.Contains(got, `"job"="1"`) {
		t.Errorf("got %s", got)
	}
}

// TestSilentStreamsLiveOnOverTLS: over HTTP/2 a deadline to write ends a stream even if nobody writes.
func TestSilentStreamsLiveOnOverTLS(t *testing.T) {
	reader := &slow{wait: 600 * time.Millisecond}
	handler, err := New(t.Context(), Options{Reader: reader, Heartbeat: 300 * time.Millisecond, Patience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = Server(handler)
	server.Config.WriteTimeout = 300 * time.Millisecond
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	next, _ := listen(t, server, shopPath+"flow")
	next()
	for range 3 {
		if kind, data := next(); kind != "comment" {
			t.Fatalf("got %s %s, want a sign of life", kind, data)
		}
	}
	if got := ask(t, server, "GET", shopPath+"tap/ndjson", ""); got.status != 200 || strings.Count(got.body, "\n") != 2 {
		t.Errorf("a download with pauses: got %d %s", got.status, got.body)
	}
}

// slow is a Reader that waits before each event of a tap.
type slow struct {
	fixed

	wait time.Duration
}

func (s *slow) Tap(_ context.Context, _ view.Name, _ view.TapOptions, send func(*view.Stored) error) error {
	for range 2 {
		time.Sleep(s.wait)
		if err := send(&view.Stored{ID: "a"}); err != nil {
			return err
		}
	}
	return nil
}

// TestStreamsOutliveTimeoutsOverTLS: browsers speak HTTP/2 over TLS, where the deadlines of a server are those of each stream.
func TestStreamsOutliveTimeoutsOverTLS(t *testing.T) {
	handler, err := New(t.Context(), Options{Reader: &fixed{}, Heartbeat: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = Server(handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = time.Second, time.Second
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	next, _ := listen(t, server, shopPath+"flow")
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		if kind, _ := next(); kind == "closed" {
			t.Fatalf("the stream ended after %s", time.Since(began))
		}
	}
	if got := ask(t, server, "GET", shopPath+"graph", ""); got.status != 200 {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
