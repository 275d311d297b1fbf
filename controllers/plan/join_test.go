package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

const joined = `
stages:
- {name: check, from: [ingress], validate: {}}
- {name: keys, from: [check], transform: {key: event.subject}}
- {name: find, from: [keys], correlate: {realtime: {}}}
- {name: add, from: [keys], enrich: {trace: {}}}
- {name: more, from: [add], enrich: {impact: {}}, placement: {with: add}}
- {name: together, from: [find, more, split/a], join: {expect: [find, more]}}
- {name: split, from: [keys], route: {rules: [{port: a, expression: "true"}, {port: b, expression: "true"}], default: Drop}}
- {name: behind, from: [together, split/b], enrich: {trace: {}}}
- {name: mixed, from: [keys, split/b], enrich: {trace: {}}}
- {name: last, from: [mixed, find], join: {deadline: 1m}}
- {name: aside, from: [check], analyze: {anomaly: {}}}
`

// TestStagesBeforeAJoinTell: the stages on the way to a join tell how far they are, on the ports that lead there, and are told; nobody else is. What is
// read in one order with other inputs is merged: a stage without state has no order of its inputs.
func TestStagesBeforeAJoinTell(t *testing.T) {
	p, problems := planned(t, joined, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	tells, follows := map[string]string{}, map[string]string{}
	for _, s := range p.Stages {
		for _, port := range slices.Sorted(maps.Keys(s.Config.Outputs)) {
			switch out := s.Config.Outputs[port]; {
			case out.Merged:
				tells[s.Name] += port + " merged "
			case out.Watermarks:
				tells[s.Name] += port + " "
			}
		}
		for _, in := range s.Config.Inputs {
			if in.Writers > 0 {
				follows[s.Name] += fmt.Sprintf("%s of %d ", in.From, in.Writers)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{
		"check": "out ", "keys": "out ", "find": "out merged ", "more": "out merged ", "mixed": "out merged ", "split": "a merged b ",
	}, tells); diff != "" {
		t.Errorf("who tells (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{
		"check": "ingress of 1 ", "keys": "check/out of 1 ", "find": "keys/out of 8 ", "add": "keys/out of 8 ", "split": "keys/out of 8 ",
		"mixed": "keys/out of 8 split/b of 1 ", "together": "find/out of 1 more/out of 1 split/a of 1 ", "last": "mixed/out of 1 find/out of 1 ",
	}, follows); diff != "" {
		t.Errorf("who is told (-want +got)\n%s", diff)
	}
	at := slices.IndexFunc(p.Stages, func(s Stage) bool { return s.Name == "together" })
	if diff := cmp.Diff(&config.Join{
		Expect: []string{"find/out", "more/out"}, Deadline: config.Duration(defaultJoinDeadline), OnTimeout: config.JoinEmitPartial, Merge: config.JoinMerged,
		MaxPending: defaultJoinPending, MaxBytes: defaultJoinBytes,
	}, p.Stages[at].Config.Join); diff != "" {
		t.Errorf("settings (-want +got)\n%s", diff)
	}
	if lanes := p.Stages[at].Lanes; lanes != p.Partitions {
		t.Errorf("%d lanes, want %d", lanes, p.Partitions)
	}
	for _, u := range Permissions(p) {
		reads := slices.Contains(u.Publish, "$JS.API.STREAM.MSG.GET.DEFAULT_P_CHECK")
		if want := strings.HasSuffix(u.Name, ".keys") || strings.HasSuffix(u.Name, ".check") || strings.HasSuffix(u.Name, ".aside"); reads != want {
			t.Errorf("%s may read what check has stored: %t, want %t", u.Name, reads, want)
		}
	}
}

// TestJoinsThatWaitInVain are refused, with the field at fault.
func TestJoinsThatWaitInVain(t *testing.T) {
	for name, c := range map[string]struct {
		stages string
		want   []string
		more   bool // others follow from the one
	}{
		"one input": {`
- {name: together, from: [a], join: {}}`, []string{`spec.stages[3].from: Invalid value: ["a"]: join needs two inputs at least`}, false},
		"the ingress": {`
- {name: together, from: [a, ingress], join: {}}`, []string{`spec.stages[3].from[1]: Invalid value: "ingress": join brings events of one key together`}, false},
		"dead letters": {`
- {name: together, from: [a, b/dead-letter], join: {}}`, []string{`spec.stages[3].from[1]: Invalid value: "b/dead-letter": leads to stage "together" (join), and port dead-letter does not say how far it is`}, false},
		"dead letters on the way": {`
- {name: mend, from: [b/dead-letter], transform: {steps: [{filter: "true"}]}}
- {name: together, from: [a, mend], join: {}}`, []string{`spec.stages[3].from[0]: Invalid value: "b/dead-letter": leads to stage "together" (join)`}, false},
		"who is no branch": {`
- {name: together, from: [a, b], join: {expect: [a, c]}}`, []string{`spec.stages[3].join.expect[1]: Invalid value: "c": the stage does not read it`}, false},
		"other keys": {`
- {name: keys, from: [b], transform: {key: event.subject}}
- {name: together, from: [a, keys], join: {}}`, []string{`spec.stages[4].from[1]: Invalid value: "keys": the events of this branch have other keys than those of a,`}, false},
		"longer than the streams keep messages": {`
- {name: together, from: [a, b], join: {deadline: 20s}}
streams: {maxAge: 1m}`, []string{`spec.stages[3].join.deadline: Invalid value: "20s": a join rebuilds its state from the last 1m5s of its inputs`}, false},
		"pairs that wait as long": {`
- {name: together, from: [a], join: {key: event.subject, pairs: {first: "true", second: "false", within: 1h}}}
streams: {maxAge: 3h}`, []string{`spec.stages[3].join.pairs.within: Invalid value: "1h0m0s": a join rebuilds`}, false},
		"a cycle": {`
- {name: back, from: [together], enrich: {trace: {}}}
- {name: together, from: [a, back], join: {}}`, []string{"closes the cycle"}, false},
		"in the workers of another": {`
- {name: together, from: [a, b], join: {}, placement: {with: a}}`, []string{"spec.stages[3].placement.with"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := planned(t, `stages:
- {name: a, from: [ingress], validate: {}}
- {name: b, from: [ingress], validate: {}}
- {name: c, from: [ingress], validate: {}}`+c.stages, func(*config.Traits) {})
			for _, want := range c.want {
				if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
					t.Errorf("problems %q, want one with %q", problems, want)
				}
			}
			if len(problems) > len(c.want) && !c.more {
				t.Errorf("problems %q, want %d", problems, len(c.want))
			}
		})
	}
}

// TestPairsNeedNoFork: events of two types may be in one input, and nobody tells how far it is.
func TestPairsNeedNoFork(t *testing.T) {
	p, problems := planned(t, `stages:
- {name: a, from: [ingress], validate: {}}
- {name: calls, from: [a], join: {key: event.subject, pairs: {first: "event.type == 'ask'", second: "event.type == 'reply'", within: 5s}}}`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, s := range p.Stages {
		if s.Config.Outputs[config.PortOut].Watermarks || s.Config.Inputs[0].Writers != 0 {
			t.Errorf("stage %s has watermarks", s.Name)
		}
	}
	if got := p.Stages[1].Config.Join; got.Merge != config.JoinCollect || got.Deadline.D() != 5*time.Second || got.Pairs == nil {
		t.Errorf("settings %+v", got)
	}
}

// TestPairsOfInputsWithOtherKeys: the two events of a pair come from different sources. A stage before the join gives those of one input the key that
// those of the other have from their sender, so such inputs are right.
func TestPairsOfInputsWithOtherKeys(t *testing.T) {
	_, problems := planned(t, `stages:
- {name: asks, from: [ingress], validate: {}}
- {name: replies, from: [asks], transform: {key: event.subject}}
- {name: calls, from: [asks, replies], join: {key: event.subject, pairs: {first: "event.type == 'ask'", second: "event.type == 'reply'"}}}`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Error(problems)
	}
}

// TestJoinBehindLanesOfTheIngress: a lane of the ingress without events says nothing.
func TestJoinBehindLanesOfTheIngress(t *testing.T) {
	_, problems := planned(t, `
ingress: {partitionBy: Subject}
stages:
- {name: a, from: [ingress], validate: {}}
- {name: b, from: [ingress], validate: {}}
- {name: together, from: [a, b], join: {}}`, func(*config.Traits) {})
	if len(problems) != 1 || !strings.HasPrefix(problems[0], "spec.stages[2].join: Forbidden: ") {
		t.Errorf("problems %q", problems)
	}
}
