package plan

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

const routed = `
stages:
- {name: check, from: [ingress], validate: {}}
- name: triage
  from: [check]
  route:
    rules:
    - {port: pay, expression: "event.subject == 'pay'"}
    - {port: err, expression: "event.severity > 16", sample: "0.25"}
    - {port: pay, expression: "event.type == 'pay'"}
    default: rest
- {name: watch, from: [triage/pay, triage/err], enrich: {trace: {}}}
- {name: all, from: [triage/err, triage/rest], correlate: {window: {}}}
`

// TestPortsShareAStream: ports that a manifest names are in one stream, each on subjects of its own, and readers filter by them.
func TestPortsShareAStream(t *testing.T) {
	p, problems := planned(t, routed, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	own := slices.IndexFunc(p.Streams, func(s Stream) bool { return s.Name == "DEFAULT_P_TRIAGE" })
	if own < 0 {
		t.Fatalf("the stage has no stream: %+v", p.Streams)
	}
	if diff := cmp.Diff([]string{"triage/err", "triage/pay", "triage/rest"}, p.Streams[own].Ports); diff != "" {
		t.Errorf("ports of the stream (-want +got)\n%s", diff)
	}
	stages := map[string]Stage{}
	for _, s := range p.Stages {
		stages[s.Name] = s
	}
	triage := stages["triage"]
	subjects := map[string]string{}
	for port, out := range triage.Config.Outputs {
		subjects[port] = out.Stream + " " + out.Subject
	}
	if diff := cmp.Diff(map[string]string{
		"err": "DEFAULT_P_TRIAGE default.p.triage.err", "pay": "DEFAULT_P_TRIAGE default.p.triage.pay", "rest": "DEFAULT_P_TRIAGE default.p.triage.rest",
		"dead-letter": "DEFAULT_P_DEAD_LETTERS default.p.dead-letter.triage",
	}, subjects); diff != "" {
		t.Errorf("outputs (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(&config.Route{Mode: config.RouteFirst, Default: "rest", Rules: []config.RouteRule{
		{Port: "pay", Expression: "event.subject == 'pay'"}, {Port: "err", Expression: "event.severity > 16", Sample: 0.25}, {Port: "pay", Expression: "event.type == 'pay'"},
	}}, triage.Config.Route); diff != "" {
		t.Errorf("settings (-want +got)\n%s", diff)
	}
	watch, all := stages["watch"], stages["all"]
	if watch.Lanes != p.Partitions || all.Lanes != 1 {
		t.Errorf("lanes: watch has %d, want %d; all has %d, want 1", watch.Lanes, p.Partitions, all.Lanes)
	}
	last := len(watch.Consumers) - 1
	for what, pair := range map[string][2]Consumer{
		"a lane of pay": {watch.Consumers[0], Consumer{Durable: "default-p-watch_port-pay_lane-0", FilterSubject: "default.p.triage.pay.0"}},
		"a lane of err": {watch.Consumers[last], Consumer{Durable: "default-p-watch_port-err_lane-7", FilterSubject: "default.p.triage.err.7"}},
		"all of err":    {all.Consumers[0], Consumer{Durable: "default-p-all_port-err", FilterSubject: "default.p.triage.err.*"}},
		"all of rest":   {all.Consumers[1], Consumer{Durable: "default-p-all_port-rest", FilterSubject: "default.p.triage.rest.*"}},
	} {
		if got, want := pair[0], pair[1]; got.Durable != want.Durable || got.FilterSubject != want.FilterSubject || got.Stream != "DEFAULT_P_TRIAGE" {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	if durable, lane, several := SplitConsumer(watch.Consumers[last].Durable); durable != "default-p-watch_port-err_lane" || lane != 7 || !several {
		t.Errorf("the consumer %s is taken for %s, lane %d, several %t", watch.Consumers[last].Durable, durable, lane, several)
	}
	if durable, _, several := SplitConsumer("default-p-all_port-lane-0"); durable != "default-p-all_port-lane-0" || several {
		t.Errorf("the consumer of a port lane-0 is taken for a lane of %s", durable)
	}
	for _, u := range Permissions(p) {
		if u.Name != "default.p.triage" {
			continue
		}
		for _, subject := range []string{"default.p.triage.err.*", "default.p.triage.pay.*", "default.p.triage.rest.*"} {
			if !slices.Contains(u.Publish, subject) {
				t.Errorf("the workers may not publish on %s: %q", subject, u.Publish)
			}
		}
	}
}

// TestOnePort: a single port with a name is read by its name, so that a second one changes no filter.
func TestOnePort(t *testing.T) {
	p, problems := planned(t, `
stages:
- {name: triage, from: [ingress], route: {rules: [{port: pay, expression: "true"}], default: Drop}}
- {name: mid, from: [triage/pay], validate: {}}
- {name: all, from: [triage/pay], correlate: {window: {}}}
`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for what, pair := range map[string][2]string{
		"a lane": {p.Stages[1].Consumers[5].FilterSubject, "default.p.triage.pay.5"}, "all lanes": {p.Stages[2].Consumers[0].FilterSubject, "default.p.triage.pay.*"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the consumer reads %s, want %s", what, pair[0], pair[1])
		}
	}
}

// TestPortsBesideOut: whoever reads out alone with one lane reads nothing of the ports that share the stream, and what exists keeps its subjects.
func TestPortsBesideOut(t *testing.T) {
	for name, tc := range map[string]struct {
		repartitioned bool
		want          string
	}{
		"lanes write their partition": {false, "default.p.triage.*"},
		"lanes write all partitions":  {true, "default.p.triage.*.*"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stream{Stream: Stream{Name: "S", Ports: []string{"triage/out", "triage/overflow"}}, base: "default.p.triage", format: config.FormatFrame, repartitioned: tc.repartitioned}
			if got := s.filter(input{source: "triage", port: config.PortOut}, 1); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if got := s.filter(input{source: "triage", port: config.PortOut}, 8); got != "default.p.triage" {
				t.Errorf("of a lane: got %s", got)
			}
		})
	}
}

func TestPortsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		spec string
		want []string
	}{
		"a port that no rule names": {
			`stages: [{name: t, from: [ingress], route: {rules: [{port: a, expression: "true"}], default: Drop}}, {name: b, from: [t/c], validate: {}}]`,
			[]string{`spec.stages[1].from[0]: Invalid value: "t/c": stage "t" (route) has no port "c"; its ports are dead-letter, a`},
		},
		"out": {
			`stages: [{name: t, from: [ingress], route: {rules: [{port: a, expression: "true"}], default: rest}}, {name: b, from: [t], validate: {}}]`,
			[]string{`spec.stages[1].from[0]: Invalid value: "t": stage "t" has no port out: route sends events to the ports that its rules name. ` +
				`Read what it reads, or one of its ports: dead-letter, a, rest`},
		},
		"names that ports have anyway": {
			`stages: [{name: t, from: [ingress], route: {rules: [{port: out, expression: "true"}, {port: a, expression: "true"}], default: insights}}]`,
			[]string{
				`spec.stages[0].route.rules[0].port: Invalid value: "out": is the name of a port that stages have anyway: choose another`,
				`spec.stages[0].route.default: Invalid value: "insights": is the name of a port that stages have anyway: choose another`,
			},
		},
		"a number": {
			`stages: [{name: t, from: [ingress], route: {rules: [{port: "0", expression: "true"}], default: Drop}}]`,
			[]string{`spec.stages[0].route.rules[0].port: Invalid value: "0": must be at most 63 lower-case letters, digits and -, begin with a letter and end with a letter or digit`},
		},
		"an expression and a share": {
			`stages: [{name: t, from: [ingress], route: {rules: [{port: a, expression: "event.id", sample: "1.5"}], default: Drop}}]`,
			[]string{
				`spec.stages[0].route.rules[0].expression: Invalid value: "event.id": yields string, must yield bool`,
				`spec.stages[0].route.rules[0].sample: Invalid value: "1.5": must be a decimal above 0 and below 1: the share of keys that the rule takes`,
			},
		},
		"a stage that is chained to it": {
			`stages: [{name: t, from: [ingress], route: {rules: [{port: a, expression: "true"}], default: Drop}}, {name: b, from: [t/a], placement: {with: t}, validate: {}}]`,
			[]string{`spec.stages[1].placement.with: Invalid value: "t": events are handed over in memory, so from must be port out of one stage that runs in the workers of "t", and nothing else`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := planned(t, tc.spec, func(*config.Traits) {}); !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}
