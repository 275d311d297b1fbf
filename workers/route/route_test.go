package route

import (
	"fmt"
	"strings"
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// settings are those of a stage with the ports a, b and rest.
func settings(c config.Route) stage.Settings {
	outputs := map[string]config.Output{}
	for _, port := range []string{"a", "b", "rest"} {
		outputs[port] = config.Output{Format: config.FormatFrame}
	}
	return stage.Settings{Config: &config.StageConfig{Kind: config.KindRoute, Route: &c, Outputs: outputs}}
}

func made(t testing.TB, c config.Route) (stage.Stage, stage.Settings) {
	t.Helper()
	s := settings(c)
	r, err := NewFactory().New(s)
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

// left names the ports by which the events of b leave, or the verdict on those that end.
func left(t testing.TB, s stage.Settings, b *stage.Batch) []string {
	t.Helper()
	var all []string
	names := s.Config.Ports()
	for i := range b.Events {
		d := b.Decision(i)
		if d.Verdict != stage.Emit {
			all = append(all, d.Verdict.String())
			continue
		}
		var ports []string
		for n := range d.Ports.Numbers {
			ports = append(ports, names[n])
		}
		all = append(all, strings.Join(ports, "+"))
	}
	return all
}

func TestProcess(t *testing.T) {
	severe := config.RouteRule{Port: "a", Expression: "event.severity >= 17"}
	typed := config.RouteRule{Port: "b", Expression: "event.type.startsWith('app.')"}
	again := config.RouteRule{Port: "a", Expression: "event.type == 'app.log'"}
	coded := config.RouteRule{Port: "b", Expression: "event.attributes['code'] == 503"}
	both := &eventv1.Event{Id: "1", Type: "app.log", SeverityNumber: 17}
	neither := &eventv1.Event{Id: "2", Type: "k8s.event"}
	for name, tc := range map[string]struct {
		route config.Route
		event *eventv1.Event
		want  string
	}{
		"the first rule":               {config.Route{Mode: "First", Rules: []config.RouteRule{severe, typed}}, both, "a"},
		"the first in the other order": {config.Route{Mode: "First", Rules: []config.RouteRule{typed, severe}}, both, "b"},
		"all rules":                    {config.Route{Mode: "All", Rules: []config.RouteRule{severe, typed}}, both, "a+b"},
		"two rules of one port":        {config.Route{Mode: "All", Rules: []config.RouteRule{severe, again}}, both, "a"},
		"the default":                  {config.Route{Mode: "First", Rules: []config.RouteRule{severe}, Default: "rest"}, neither, "rest"},
		"the default of all":           {config.Route{Mode: "All", Rules: []config.RouteRule{severe}, Default: "rest"}, neither, "rest"},
		"not the default":              {config.Route{Mode: "All", Rules: []config.RouteRule{severe}, Default: "rest"}, both, "a"},
		"dropped":                      {config.Route{Mode: "First", Rules: []config.RouteRule{severe}}, neither, "filtered"},
		"a key that is missing":        {config.Route{Mode: "First", Rules: []config.RouteRule{coded}, Default: "rest"}, neither, "dead_lettered"},
		"taken before the rule that fails": {
			config.Route{Mode: "First", Rules: []config.RouteRule{severe, coded}}, both, "a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := made(t, tc.route)
			b := stagetest.Batch(t, tc.event)
			if err := r.Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if got := left(t, s, b)[0]; got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if d := b.Decision(0); d.Verdict == stage.DeadLetter && (d.Reason != "rule_error" ||
				d.Err.Error() != "rule 0 (port b) cannot be evaluated on this event: no such key: code (event.attributes['code'] == 503)") {
				t.Errorf("dead letter: %s: %v", d.Reason, d.Err)
			}
		})
	}
}

// TestSample: a share of the keys, the same ones each time, with all of their events; a larger share has those of a smaller one; the
// ports choose independently.
func TestSample(t *testing.T) {
	const keys = 20000
	var events []*eventv1.Event
	for i := range keys {
		events = append(events, &eventv1.Event{Id: fmt.Sprint(i), PartitionKey: fmt.Sprint("key-", i)})
	}
	taken := func(port string, share float64) map[int]bool {
		r, s := made(t, config.Route{Mode: "First", Rules: []config.RouteRule{{Port: port, Expression: "true", Sample: share}}})
		b := stagetest.Batch(t, events...)
		if err := r.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		set := map[int]bool{}
		for i, to := range left(t, s, b) {
			if to == port {
				set[i] = true
			}
		}
		return set
	}
	common := func(a, b map[int]bool) (n int) {
		for i := range a {
			if b[i] {
				n++
			}
		}
		return n
	}
	near := func(what string, got int, want float64) {
		t.Helper()
		// Five standard deviations of a binomial with as many tries.
		if d := float64(got) - want*keys; d*d > 25*want*(1-want)*keys {
			t.Errorf("%s: got %d of %d, want about %.0f", what, got, keys, want*keys)
		}
	}
	tenth, fifth, other := taken("a", 0.1), taken("a", 0.2), taken("b", 0.1)
	near("a tenth", len(tenth), 0.1)
	near("a fifth", len(fifth), 0.2)
	if common(tenth, taken("a", 0.1)) != len(tenth) || common(tenth, fifth) != len(tenth) {
		t.Error("the same share takes other keys, or a larger one does not take those of the smaller")
	}
	near("both of two ports", common(tenth, other), 0.01)
	// The partition of a key says nothing of whether it is taken: a sample is spread over all workers.
	inFirst := 0
	for i := range tenth {
		if event.Partition(fmt.Sprint("key-", i), 4) == 0 {
			inFirst++
		}
	}
	near("of one partition", inFirst, 0.025)
}

func TestReload(t *testing.T) {
	r, s := made(t, config.Route{Mode: "First", Rules: []config.RouteRule{{Port: "a", Expression: "true"}}})
	changed := *s.Config
	changed.Route = &config.Route{Mode: "First", Rules: []config.RouteRule{{Port: "b", Expression: "true"}}}
	next, err := r.(stage.Reloader).Reload(&changed)
	if err != nil {
		t.Fatal(err)
	}
	b := stagetest.Batch(t, &eventv1.Event{Id: "1"})
	if err := next.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := left(t, s, b)[0]; got != "b" {
		t.Errorf("after a change of the rules the event goes to %s, want b", got)
	}
	changed.Route = &config.Route{Mode: "First", Rules: []config.RouteRule{{Port: "c", Expression: "true"}}}
	if _, err := r.(stage.Reloader).Reload(&changed); err == nil || !strings.Contains(err.Error(), `route.rules[0].port: the stage has no port "c"`) {
		t.Errorf("a port that is not there: %v", err)
	}
}

func TestRefused(t *testing.T) {
	rule := config.RouteRule{Port: "a", Expression: "true"}
	for want, c := range map[string]config.Route{
		`route.mode: is "", must be First or All`:          {Rules: []config.RouteRule{rule}},
		`route.default: the stage has no port "d"`:         {Mode: "First", Default: "d"},
		`route.rules[0].port: the stage has no port "x"`:   {Mode: "First", Rules: []config.RouteRule{{Port: "x", Expression: "true"}}},
		`route.rules[1].expression: `:                      {Mode: "First", Rules: []config.RouteRule{rule, {Port: "a", Expression: "event.id ="}}},
		`route.rules[0].sample: is 1, must be above 0`:     {Mode: "First", Rules: []config.RouteRule{{Port: "a", Expression: "true", Sample: 1}}},
		`route.rules[0].sample: is -0.5, must be above 0 `: {Mode: "First", Rules: []config.RouteRule{{Port: "a", Expression: "true", Sample: -.5}}},
		`route.rules[0].port: port dead-letter takes what`: {Mode: "First", Rules: []config.RouteRule{{Port: "dead-letter", Expression: "true"}}},
	} {
		if _, err := NewFactory().New(settings(c)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{}}); err == nil {
		t.Error("a config without route is taken")
	}
}

// BenchmarkProcess: one operation is one event. rules/s is how many rules one core evaluates.
func BenchmarkProcess(b *testing.B) {
	for name, expressions := range map[string][]string{
		"one that always holds": {"true"},
		"native":                {"event.severity >= 21", "event.entity.namespace == 'payments'", "event.type == 'http.request'", "event.subject.startsWith('none/')"},
		"CEL":                   {"event.body.contains('none')", "event.body.contains('nothing')"},
		"CEL, by keys":          {"event.attributes[?'code'].orValue(0) == 503"},
	} {
		b.Run(name, func(b *testing.B) {
			c := config.Route{Mode: "First", Default: "rest"}
			for _, expression := range expressions {
				c.Rules = append(c.Rules, config.RouteRule{Port: "a", Expression: expression})
			}
			r, _ := made(b, c)
			var events []*eventv1.Event
			for i := range 1000 {
				events = append(events, &eventv1.Event{
					Id: fmt.Sprint(i), Source: "/k8s", Type: "k8s.event", Subject: "shop/checkout", SeverityNumber: 9, Body: "Back-off restarting failed container",
					Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "checkout"},
				})
			}
			batch := stagetest.Batch(b, events...)
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(events) {
				if err := r.Process(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(expressions))/b.Elapsed().Seconds(), "rules/s")
		})
	}
}
