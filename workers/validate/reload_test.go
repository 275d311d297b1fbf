package validate

import (
	"strings"
	"testing"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

func reload(t *testing.T, s stage.Stage, c config.Validate) stage.Stage {
	t.Helper()
	next, err := s.(stage.Reloader).Reload(&config.StageConfig{Kind: config.KindValidate, Validate: &c})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// TestReload exchanges every live member; the ids that were seen stay.
func TestReload(t *testing.T) {
	dedupe := &config.Dedupe{Window: config.Duration(time.Minute)}
	for name, tc := range map[string]struct {
		to     config.Validate
		event  *eventv1.Event
		reason string
	}{
		"rule":      {config.Validate{Rules: []config.Rule{{Expression: "event.type == 'b'"}}}, &eventv1.Event{Id: "2", Source: "s", Type: "a"}, reasonRule},
		"attribute": {config.Validate{RequiredAttributes: []string{"subject"}}, &eventv1.Event{Id: "2", Source: "s"}, reasonMissing},
		"future":    {config.Validate{MaxFuture: config.Duration(time.Second)}, &eventv1.Event{Id: "2", Source: "s", TimeUnixNano: at(time.Minute)}, reasonSkew},
		"age":       {config.Validate{MaxAge: config.Duration(time.Second)}, &eventv1.Event{Id: "2", Source: "s", TimeUnixNano: at(-time.Minute)}, reasonSkew},
	} {
		t.Run(name, func(t *testing.T) {
			from := config.Validate{Dedupe: dedupe}
			tc.to.Dedupe = dedupe
			decide := func(s stage.Stage, e *eventv1.Event) stage.Decision {
				b := batch(t, e)
				if err := s.Process(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				return b.Decision(0)
			}
			first := newStage(t, from)
			seen := &eventv1.Event{Id: "1", Source: "s", Type: "b", Subject: "x"}
			if d := decide(first, seen); d.Verdict != stage.Emit {
				t.Fatalf("the first event: %v", d)
			}
			second := reload(t, first, tc.to)
			if d := decide(second, tc.event); d.Verdict != stage.DeadLetter || d.Reason != tc.reason {
				t.Errorf("by the new rules: %v %q, want a dead letter because of %s", d.Verdict, d.Reason, tc.reason)
			}
			if d := decide(second, seen); d.Verdict != stage.Duplicate {
				t.Errorf("an id that was seen: %v, want a duplicate", d.Verdict)
			}
			if d := decide(reload(t, second, from), tc.event); d.Verdict != stage.Emit {
				t.Errorf("by the old rules again: %v, want emit", d.Verdict)
			}
		})
	}
}

func TestReloadRefuses(t *testing.T) {
	s := newStage(t, config.Validate{Rules: []config.Rule{{Expression: "event.id != ''"}}})
	for name, tc := range map[string]struct {
		config config.Validate
		want   string
	}{
		"expression": {config.Validate{Rules: []config.Rule{{Expression: "event.nope"}}}, "validate.rules[0].expression: "},
		"attribute":  {config.Validate{RequiredAttributes: []string{"nope"}}, `validate.requiredAttributes[0]: "nope"`},
		"age":        {config.Validate{MaxAge: -1}, "validate.maxAge: is -1ns"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.(stage.Reloader).Reload(&config.StageConfig{Validate: &tc.config})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			b := batch(t, &eventv1.Event{Source: "s"})
			if err := s.Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if d := b.Decision(0); d.Reason != reasonRule {
				t.Errorf("the stage decides otherwise now: %v", d)
			}
		})
	}
}

// TestReloadKeepsTheState: with the same rules again and again, a stage decides as if nothing had happened.
func TestReloadKeepsTheState(t *testing.T) {
	messages := replay.Story(t, generator.Options{Seed: 1, Events: 6000, Duplicates: 1000, Invalid: 50, End: noon}, 30*time.Second)
	c := config.Validate{
		RequiredAttributes: []string{"id", "source", "type"}, Rules: []config.Rule{{Expression: "event.severity < 24"}},
		Dedupe: &config.Dedupe{Window: config.Duration(time.Minute), MaxEntries: 300},
	}
	want := replay.New(t, newStage(t, c)).Run(messages)
	got := replay.New(t, newStage(t, c)).RunReloading(messages, 7, &config.StageConfig{Validate: &c})
	if d := replay.Diff(want, got, 0); d != "" {
		t.Error(d)
	}
}
