package plan

import (
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
