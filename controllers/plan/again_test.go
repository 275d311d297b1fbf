package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// TestAStageThatBeginsAtATime: its consumers and its workers begin there, but for its own overflow, which is read whole; what it finds goes
// to a stream of its own, where nobody is told of it a second time.
func TestAStageThatBeginsAtATime(t *testing.T) {
	at, end := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC), time.Date(2026, 12, 1, 9, 30, 0, 0, time.UTC)
	p, errs := plan.Compute(input(t, `{stages: [{name: a, from: [ingress], validate: {}}, {name: find, from: [a], analyze: {trend: {}}}]}`, map[string]string{
		"again": `{pipelineRef: {name: p}, startTime: "2026-12-01T09:00:00Z", endTime: "2026-12-01T09:30:00Z", from: [a], analyze: {trend: {}}}`,
		"ask":   `{pipelineRef: {name: p}, startTime: "2026-12-01T09:00:00Z", from: [a], gather: {nats: {subject: x}}, breaker: {whenOpen: Overflow}}`,
		"told":  `{pipelineRef: {name: p}, from: [again/insights], validate: {}}`,
	}))
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	stages := map[string]*plan.Stage{}
	for i := range p.Stages {
		stages[p.Stages[i].Name] = &p.Stages[i]
	}
	for name, from := range map[string]time.Time{"again": at, "ask": at, "find": {}, "told": {}} {
		s := stages[name]
		for i, in := range s.Config.Inputs {
			want := from
			if in.Overflow {
				want = time.Time{}
			}
			if !in.Start.Equal(want) {
				t.Errorf("input %s of %s begins at %s, want %s", in.From, name, in.Start, want)
			}
			for _, c := range s.Consumers[i*s.Lanes : (i+1)*s.Lanes] {
				if !c.Start.Equal(want) {
					t.Errorf("consumer %s begins at %s, want %s", c.Durable, c.Start, want)
				}
			}
		}
		if s.Config.BeginsAtTime() == from.IsZero() {
			t.Errorf("stage %s: BeginsAtTime is %t", name, s.Config.BeginsAtTime())
		}
	}
	if in := stages["again"].Config.Inputs[0]; !in.End.Equal(end) || !in.Takes(at.UnixNano()) || in.Takes(at.UnixNano()-1) || in.Takes(end.UnixNano()) || !in.Takes(end.UnixNano()-1) {
		t.Errorf("the bounds of the input are %s to %s", in.Start, in.End)
	}
	if len(stages["ask"].Config.Inputs) != 2 || !stages["ask"].Config.Inputs[1].Overflow {
		t.Errorf("the overflow is not read: %+v", stages["ask"].Config.Inputs)
	}
	common, own := stages["find"].Config.Outputs[config.PortInsights].Stream, stages["again"].Config.Outputs[config.PortInsights].Stream
	if common != "DEFAULT_P_INSIGHTS" || own != "DEFAULT_P_AGAIN_INSIGHTS" || stages["told"].Config.Inputs[0].Stream != own {
		t.Errorf("insights go to %s, those of the replay to %s, read from %s", common, own, stages["told"].Config.Inputs[0].Stream)
	}
	if !slices.ContainsFunc(p.Streams, func(s plan.Stream) bool {
		return s.Name == own && slices.Equal(s.Subjects, []string{"default.p.again-insights.>"})
	}) {
		t.Errorf("no stream %s is planned: %+v", own, p.Streams)
	}
	recorded, err := plan.DecodeGraph(plan.EncodeGraph(p))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range recorded.Stages {
		if s.Config.BeginsAtTime() != (s.Name == "again" || s.Name == "ask") {
			t.Errorf("the recorded graph says of stage %s that it begins at a time: %t", s.Name, s.Config.BeginsAtTime())
		}
	}
}

// TestNothingIsChainedToAStageThatBeginsAtATime: what is chained would tell again what was told.
func TestNothingIsChainedToAStageThatBeginsAtATime(t *testing.T) {
	_, errs := plan.Compute(input(t, `{stages: [{name: a, from: [ingress], validate: {}}]}`, map[string]string{
		"again": `{pipelineRef: {name: p}, startTime: "2026-12-01T09:00:00Z", from: [a], validate: {}}`,
		"with":  `{pipelineRef: {name: p}, from: [again], placement: {with: again}, validate: {}}`,
	}))
	if len(errs) != 1 || errs[0].Field != "stages[with].spec.placement.with" || !strings.Contains(errs[0].Error(), `stage "again" begins at a time`) {
		t.Errorf("got %v", errs)
	}
}
