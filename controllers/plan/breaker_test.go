package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

// TestBreaker: stages that call others may have one, and no other stage.
func TestBreaker(t *testing.T) {
	p, problems := planned(t, `
stages:
- {name: ask, from: [ingress], gather: {nats: {subject: a}}, breaker: {}}
- {name: hook, from: [ask], sink: {http: {url: "http://a"}}, breaker: {failureRatio: ".25", slowAfter: 1s, minCalls: 3}}
- {name: plain, from: [ask], gather: {nats: {subject: b}}}
`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	defaults := config.Breaker{FailureRatio: 0.5, Window: config.Duration(10 * time.Second), MinCalls: 20, OpenFor: config.Duration(5 * time.Second), TrialCalls: 5}
	other := defaults
	other.FailureRatio, other.SlowAfter, other.SlowRatio, other.MinCalls = 0.25, config.Duration(time.Second), 0.8, 3
	got := map[string]*config.Breaker{}
	for _, s := range p.Stages {
		got[s.Name] = s.Config.Breaker
	}
	if diff := cmp.Diff(map[string]*config.Breaker{"ask": &defaults, "hook": &other, "plain": nil}, got); diff != "" {
		t.Errorf("breakers (-want +got)\n%s", diff)
	}
	for _, kind := range []string{"validate: {}", "correlate: {window: {}}", "sink: {file: {path: /a}}"} {
		_, problems := planned(t, "\nstages:\n- {name: s, from: [ingress], "+kind+", breaker: {}}\n", func(*config.Traits) {})
		if want := "spec.stages[0].breaker: Forbidden: the stage calls nothing that could be away"; len(problems) != 1 || !strings.HasPrefix(problems[0], want) {
			t.Errorf("%s: got %v, want %s", kind, problems, want)
		}
	}
}

// TestOverflow: the port, the consumers that replay it, and the subjects of two lanes for each partition.
func TestOverflow(t *testing.T) {
	p, problems := planned(t, `
stages:
- {name: check, from: [ingress], validate: {}}
- {name: ask, from: [check], gather: {nats: {subject: a}}, breaker: {whenOpen: Overflow, replay: {rate: 100, share: ".25"}}}
- {name: first, from: [ingress], gather: {nats: {subject: b}}, breaker: {whenOpen: Overflow}}
- {name: last, from: [ask, ask/overflow], validate: {}}
`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	stages := map[string]*Stage{}
	for i := range p.Stages {
		stages[p.Stages[i].Name] = &p.Stages[i]
	}
	ask, first, last := stages["ask"], stages["first"], stages["last"]
	want := config.Breaker{
		FailureRatio: 0.5, Window: config.Duration(10 * time.Second), MinCalls: 20, OpenFor: config.Duration(5 * time.Second), TrialCalls: 5,
		WhenOpen: config.WhenOpenOverflow, ReplayRate: 100, ReplayShare: 0.25,
	}
	if diff := cmp.Diff(&want, ask.Config.Breaker); diff != "" {
		t.Errorf("breaker (-want +got)\n%s", diff)
	}
	outputs := map[string]config.Output{
		"out":      {Stream: "DEFAULT_P_ASK", Subject: "default.p.ask", Format: config.FormatFrame, Repartition: true},
		"overflow": {Stream: "DEFAULT_P_ASK", Subject: "default.p.ask.overflow", Format: config.FormatFrame, Repartition: true},
	}
	for port, want := range outputs {
		if diff := cmp.Diff(want, ask.Config.Outputs[port]); diff != "" {
			t.Errorf("port %s (-want +got)\n%s", port, diff)
		}
	}
	for _, c := range []struct {
		of       *Stage
		consumer int
		durable  string
		filter   string
	}{
		{ask, 8, "default-p-ask_port-overflow_lane-0", "default.p.ask.overflow.*.0"},
		{ask, 15, "default-p-ask_port-overflow_lane-7", "default.p.ask.overflow.*.7"},
		{first, 1, "default-p-first_port-overflow", "default.p.first.overflow.*.0"},
		{last, 7, "default-p-last_lane-7", "default.p.ask.7.>"},
		{last, 15, "default-p-last_port-overflow_lane-7", "default.p.ask.overflow.7.>"},
	} {
		if got := c.of.Consumers[c.consumer]; got.Durable != c.durable || got.FilterSubject != c.filter {
			t.Errorf("stage %s: consumer %d is %s for %s, want %s for %s", c.of.Name, c.consumer, got.Durable, got.FilterSubject, c.durable, c.filter)
		}
	}
	for i := range p.Stages {
		text, err := p.Stages[i].Config.Encode()
		if err == nil {
			_, err = config.Parse(text)
		}
		if err != nil {
			t.Errorf("stage %s: %v", p.Stages[i].Name, err)
		}
	}
	for _, right := range []string{"default.p.ask.overflow.*.*", "$JS.API.CONSUMER.RESET.DEFAULT_P_ASK.default-p-ask_port-overflow_lane-3"} {
		for _, u := range Permissions(p) {
			if has := slices.Contains(u.Publish, right); has != (u.Name == "default.p.ask") {
				t.Errorf("%s may publish on %s: %t", u.Name, right, has)
			}
		}
	}
}

// TestOverflowIsRefused where a replay would break something, with the field and what to do.
func TestOverflowIsRefused(t *testing.T) {
	const check = "\nstages:\n- {name: check, from: [ingress], validate: {}}\n"
	for stages, want := range map[string]string{
		"- {name: hook, from: [check], sink: {http: {url: \"http://a\"}}, breaker: {whenOpen: Overflow}}\n":                     "spec.stages[1].breaker.whenOpen: Invalid value: \"Overflow\": sink has no port overflow: leave whenOpen out. Its lane waits",
		"- {name: ask, from: [check], gather: {nats: {subject: a}}, breaker: {whenOpen: Overflow}, placement: {with: check}}\n": "spec.stages[1].breaker.whenOpen: Invalid value: \"Overflow\": the stage runs in the workers of \"check\"",
		"- {name: ask, from: [check], gather: {nats: {subject: a}}, breaker: {whenOpen: Overflow}}\n" +
			"- {name: next, from: [ask], validate: {}, placement: {with: ask}}\n": "spec.stages[2].placement.with: Invalid value: \"ask\": \"ask\" sends events aside",
		"- {name: ask, from: [check], gather: {nats: {subject: a}}, breaker: {whenOpen: Overflow}}\n" +
			"- {name: other, from: [check], validate: {}}\n- {name: both, from: [ask, other], join: {}}\n": "spec.stages[1].breaker.whenOpen: Invalid value: \"Overflow\": a join behind the stage waits for watermarks",
		"- {name: ask, from: [check], gather: {nats: {subject: a}}, breaker: {}}\n- {name: next, from: [ask/overflow], validate: {}}\n": "spec.stages[2].from[0]",
	} {
		_, problems := planned(t, check+stages, func(*config.Traits) {})
		if len(problems) != 1 || !strings.HasPrefix(problems[0], want) {
			t.Errorf("%s got %v, want %s", stages, problems, want)
		}
	}
}
