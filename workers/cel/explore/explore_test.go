package explore

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lines = `{"id":"1","source":"shop","type":"app.log","severitytext":"ERROR","entity":{"kind":"Pod","namespace":"shop","name":"cart-0"},"attributes":{"page":true,"n":3}}
{"id":"2","source":"shop","type":"app.log","body":"served"}
`

type outcome struct {
	stdout, stderr string
	err            error
}

func command(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	cmd := Command()
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return outcome{stdout.String(), stderr.String(), err}
}

func file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOnce: values are on standard output, one a line; type and cost are beside them.
func TestOnce(t *testing.T) {
	for name, tc := range map[string]struct{ expression, values, about string }{
		"a condition":    {"event.severity >= 17", "true\nfalse\n", "bool, "},
		"a text":         {"event.entity.namespace + '/' + event.entity.name", "\"shop/cart-0\"\n\"/\"\n", "string, "},
		"a list":         {"[event.id, event.type]", "[\"1\",\"app.log\"]\n[\"2\",\"app.log\"]\n", "list(string), "},
		"a map":          {"{'id': event.id}", "{\"id\":\"1\"}\n{\"id\":\"2\"}\n", "map(string, string), "},
		"an optional":    {"event.attributes[?'n']", "3\n\"<none>\"\n", "optional_type(dyn), "},
		"all attributes": {"event.attributes", "{\"n\":3,\"page\":true}\n{}\n", "map(string, dyn), "},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, "", "--event", file(t), tc.expression)
			if got.err != nil || got.stdout != tc.values || !strings.HasPrefix(got.stderr, tc.about) || !strings.Contains(got.stderr, "(at most 1000000)") {
				t.Errorf("%v\n%s\n%s", got.err, got.stdout, got.stderr)
			}
		})
	}
}

// TestRefused: what no stage would take is refused, with the place.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct{ expression, want string }{
		"an unknown field": {"event.idd", "column 6: undefined field 'idd'"},
		"a dear one":       {"event.attributes.all(a, event.attributes.all(b, event.attributes.all(c, event.body.contains(a + b + c))))", "may cost "},
		"nothing":          {" ", "is empty"},
		"an entity":        {"event.entity", "yields a whole millrace.event.v1.EntityRef: name one of its members"},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, "", "--event", file(t), tc.expression)
			if got.err == nil || !strings.Contains(got.err.Error(), tc.want) || got.stdout != "" {
				t.Errorf("%v\n%s", got.err, got.stdout)
			}
		})
	}
	if got := command(t, "", "--event", file(t), "event.attributes['page']"); got.err == nil || got.stdout != "true\n" || !strings.Contains(got.stderr, `event "2": no such key: page`) {
		t.Errorf("an expression that fails for one event: %v\n%s%s", got.err, got.stdout, got.stderr)
	}
}

// TestNotFinite: JSON has no form for NaN and Infinity: they have a name, also inside of lists and maps.
func TestNotFinite(t *testing.T) {
	const metric = `{"id":"1","source":"a","type":"m","metric":{"name":"x","value":null}}` + "\n"
	for expression, want := range map[string]string{
		"event.metric.value":              `"<NaN>"`,
		"[1.0 / 0.0, -1.0 / 0.0, 1.5, 1]": `["<Infinity>","<-Infinity>",1.5,1]`,
		"{'a': [event.metric.value]}":     `{"a":["<NaN>"]}`,
	} {
		if got := command(t, metric, "--event", "-", expression); got.err != nil || got.stdout != want+"\n" {
			t.Errorf("%s: %v\n%s", expression, got.err, got.stdout)
		}
		if got := command(t, metric, "-o", "json", "--event", "-", expression); got.err != nil || !strings.Contains(got.stdout, `"value":`+want) {
			t.Errorf("%s as JSON: %v\n%s", expression, got.err, got.stdout)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the pipe is broken") }

// TestOutputFails: values that cannot be written are an error.
func TestOutputFails(t *testing.T) {
	cmd := Command()
	cmd.SetOut(broken{})
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{"--event", file(t), "event.id"})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "the pipe is broken") {
		t.Error(err)
	}
}

// TestNoEvent: what is no event is told with its line.
func TestNoEvent(t *testing.T) {
	const text = "{\"id\":\"1\",\"source\":\"a\",\"type\":\"b\"}\n\n{\"id\":\"2\",\n  \"source\":\"a\",\"type\":\"b\"}\nno event\n"
	if got := command(t, text, "--event", "-", "event.id"); got.err == nil || !strings.HasPrefix(got.err.Error(), "line 5 of standard input: ") {
		t.Error(got.err)
	}
}

func TestJSON(t *testing.T) {
	got := command(t, lines, "-o", "json", "--event", "-", "event.severity >= 17")
	var r result
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.err != nil {
		t.Fatalf("%v %v\n%s", err, got.err, got.stdout)
	}
	if r.Type != "bool" || r.Cost == 0 || r.LargestCost < r.Cost || len(r.Values) != 2 || r.Values[0].Value != true || r.Values[1].ID != "2" {
		t.Errorf("%+v", r)
	}
}

// TestLines: without a terminal, standard input holds expressions.
func TestLines(t *testing.T) {
	got := command(t, "event.id\n\nevent.nope\nevent.type\n", "--event", file(t))
	if got.stdout != "\"1\"\n\"2\"\n\"app.log\"\n\"app.log\"\n" || got.err == nil || !strings.Contains(got.err.Error(), "event.nope: column 6") {
		t.Errorf("%v\n%s", got.err, got.stdout)
	}
	if got := command(t, "event.id\n"); got.err != nil || got.stdout != "" || !strings.HasPrefix(got.stderr, "string, ") {
		t.Errorf("without events: %v\n%s%s", got.err, got.stdout, got.stderr)
	}
}

func TestComplete(t *testing.T) {
	for line, want := range map[string]string{
		"ev":                         "event.",
		"event.sev":                  "event.severity",
		"event.id == '' && event.en": "event.id == '' && event.entity.",
		"event.entity.na":            "event.entity.name",
		"event.body.star":            "event.body.startsWith(",
		"has(event.metric.un":        "has(event.metric.unit",
		"event.severityText":         "",
		"nonsense.":                  "",
		":fi":                        ":fields",
	} {
		got, at, ok := complete(line, len(line))
		if ok != (want != "") || got != want || ok && at != len(want) {
			t.Errorf("complete(%q) = %q, %d, %v, want %q", line, got, at, ok, want)
		}
	}
	if got, at, _ := complete("event.ty == 'a'", len("event.ty")); got != "event.type == 'a'" || at != len("event.type") {
		t.Errorf("in the middle: %q, %d", got, at)
	}
}

// TestHistory: what was typed is there in the next session, once.
func TestHistory(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	h := openHistory()
	h.Add("event.id")
	h.Add("event.id")
	h.Add("event.type")
	h.close()
	h = openHistory()
	defer h.close()
	if h.Len() != 2 || h.At(0) != "event.type" || h.At(1) != "event.id" {
		t.Errorf("%q", h.lines)
	}
}
