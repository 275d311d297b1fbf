package chain_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	eventframe "millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// told is a fake that is told how far its inputs are, and makes an event of each time.
type told struct {
	fake
	saw  *[]string
	held int64
}

func (s told) Watermark(_ context.Context, input int, until time.Time, b *stage.Batch) (time.Time, error) {
	at := int64(0)
	if !until.IsZero() {
		at = until.UnixNano()
	}
	*s.saw = append(*s.saw, fmt.Sprintf("input %d is at %d", input, at))
	b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: fmt.Sprintf("at-%d", at), Source: "s", Type: "t"})
	if s.held == 0 {
		return time.Time{}, nil
	}
	return time.Unix(0, s.held), nil
}

// saying is a message of an input, on a subject, with what it says of the ingress.
func saying(t *testing.T, input int, subject string, m progress.Mark, ids ...string) chain.Message {
	t.Helper()
	made := marker()
	if len(ids) > 0 {
		made = frame(t, ids...)
	}
	made.Input, made.Subject = input, subject
	made.Header[progress.HeaderWatermark] = []string{m.String()}
	made.Header[eventframe.HeaderEvents] = []string{fmt.Sprint(len(ids))}
	return made
}

// marker is a frame without events.
func marker() chain.Message {
	var w eventframe.Writer
	w.Begin(eventframe.Header{})
	return chain.Message{Message: decode.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeFrame}}, Data: w.AppendTo(nil)}}
}

// next takes messages in a step of their own.
func (r *rig) next(messages ...chain.Message) []string {
	r.t.Helper()
	r.step.Reset()
	return r.take(messages...)
}

// TestWatermarkIsThatOfTheSlowest of the inputs, and of the lanes that write to one.
func TestWatermarkIsThatOfTheSlowest(t *testing.T) {
	r := newRig(t, fake{})
	r.inputs = []chain.Input{{From: "one/out", Stream: "IN", Writers: 1}, {From: "other/out", Stream: "IN2", Repartitioned: true, Writers: 2}}
	r.open(nil)
	want := func(what string, until, newest int64) {
		t.Helper()
		if got := r.chain.Mark(); got.Until != until || got.Newest != newest {
			t.Errorf("%s: %+v, want %d and %d", what, got, until, newest)
		}
	}
	// One lane reads both partitions: each of them has its own writers.
	r.next(saying(t, 0, "one.0", progress.Mark{Until: 5, Newest: 6}, "a"), saying(t, 0, "one.1", progress.Mark{Until: 9, Newest: 9}, "b"))
	want("nobody has heard of the other input", 0, 9)
	for _, subject := range []string{"other.0.0", "other.0.1", "other.1.0"} {
		r.next(saying(t, 1, subject, progress.Mark{Until: 7, Newest: 7}))
	}
	want("a writer has not been heard", 0, 9)
	r.next(saying(t, 1, "other.1.1", progress.Mark{Until: 4, Newest: 12}))
	want("the slowest writer", 4, 12)
	r.next(saying(t, 1, "other.1.1", progress.Mark{Until: 8, Newest: 12}))
	want("the slowest partition of the first input", 5, 12)
	r.next(saying(t, 0, "one.0", progress.Mark{Until: 3, Newest: 3}), saying(t, 0, "one.9", progress.Mark{Until: 99, Newest: 3}))
	want("a watermark does not go back, and a stranger does not count", 5, 12)
	without := frame(t, "c")
	without.Subject = "one.0"
	r.next(without)
	want("an event of unknown age", 5, 0)
}

// TestTimesOfTheIngressDiffer: no two messages have the same, whatever the clock of the server does.
func TestTimesOfTheIngressDiffer(t *testing.T) {
	r := newRig(t, fake{})
	r.inputs = []chain.Input{{From: "ingress", Stream: "IN", Writers: 1}}
	r.open(nil)
	var got []int64
	for i, at := range []int64{100, 100, 50, 102, 200} {
		m := loose(fmt.Sprint("e", i))
		m.Time = at
		r.next(m)
		got = append(got, r.chain.Mark().Until)
	}
	if diff := cmp.Diff([]int64{100, 101, 102, 103, 200}, got); diff != "" {
		t.Errorf("watermarks (-want +got)\n%s", diff)
	}
}

// TestStageIsTold behind each message, also behind those without events; in a replay it is told the same, and nothing of that is stored.
func TestStageIsTold(t *testing.T) {
	var saw []string
	stageOf := told{fake: fake{process: func(b *stage.Batch) error {
		for i := range b.Events {
			saw = append(saw, fmt.Sprintf("%s of %d", b.Events[i].ID, b.Newest.UnixNano()))
			b.Filter(i)
		}
		return nil
	}}, saw: &saw}
	r := newRig(t, fake{})
	r.stateful, r.stages = true, []stage.Stage{stageOf}
	r.inputs = []chain.Input{{From: "one/out", Stream: "IN", Writers: 1}}
	r.open(nil)
	messages := []chain.Message{saying(t, 0, "one.0", progress.Mark{Until: 5, Newest: 6}, "a"), saying(t, 0, "one.1", progress.Mark{Until: 7, Newest: 7})}
	got := strings.Join(r.next(messages...), "\n")
	want := []string{"a of 6", "input 0 is at 0", "input 0 is at 5"}
	if diff := cmp.Diff(want, saw); diff != "" {
		t.Errorf("the stage was told (-want +got)\n%s", diff)
	}
	for _, id := range []string{"at-0", "at-5"} {
		if !strings.Contains(got, id) {
			t.Errorf("%s is not stored: %s", id, got)
		}
	}
	saw = nil
	r.open(nil)
	for _, m := range messages {
		r.step.Reset()
		r.add(m)
		if stored, ok := r.run(func(ctx context.Context) bool { return r.chain.Replay(ctx, r.step) }); !ok || len(stored) > 0 {
			t.Errorf("a replay stores %q", stored)
		}
	}
	if diff := cmp.Diff(want, saw); diff != "" {
		t.Errorf("in the replay the stage was told (-want +got)\n%s", diff)
	}
}

// TestPlaceOfWhatIsMadeAtAMarker: it does not depend on what was made of the messages before, which a worker that takes the lane over has not had.
func TestPlaceOfWhatIsMadeAtAMarker(t *testing.T) {
	place := func(messages ...chain.Message) progress.Position {
		t.Helper()
		var saw []string
		r := newRig(t, fake{})
		r.stateful, r.stages = true, []stage.Stage{told{fake: fake{process: func(b *stage.Batch) error {
			for range 3 {
				b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "made", Source: "s", Type: "t"})
			}
			return nil
		}}, saw: &saw}}
		r.inputs = []chain.Input{{From: "one/out", Stream: "IN", Writers: 1}}
		r.open(nil)
		for _, m := range messages {
			r.next(m)
		}
		outputs := r.step.Pending[len(r.step.Pending)-1].Outputs
		return outputs[len(outputs)-1].Reach[0]
	}
	before, marker := saying(t, 0, "one.0", progress.Mark{Until: 5, Newest: 6}, "a"), saying(t, 0, "one.0", progress.Mark{Until: 7, Newest: 7})
	before.Sequence, marker.Sequence = 1, 2
	if live, next := place(before, marker), place(marker); live != next {
		t.Errorf("behind another message it is at %+v, for the next worker at %+v", live, next)
	}
}

// TestFlushEndsWhatIsHeld: what a stage held back until a flush is stored then, and the outputs say so before another message comes.
func TestFlushEndsWhatIsHeld(t *testing.T) {
	var saw []string
	held := int64(4)
	s := &holding{told: told{saw: &saw}, held: &held}
	s.flush = func(_ time.Time, _ bool, b *stage.Batch) error {
		held = 0
		b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "late", Source: "s", Type: "t"})
		return nil
	}
	r := newRig(t, fake{})
	r.stateful, r.stages = true, []stage.Stage{s}
	r.inputs = []chain.Input{{From: "one/out", Stream: "IN", Writers: 1}}
	r.open(nil)
	r.next(saying(t, 0, "one.0", progress.Mark{Until: 9, Newest: 9}, "a"), saying(t, 0, "one.1", progress.Mark{Until: 9, Newest: 9}, "b"))
	if got := r.chain.Mark(); got.Until != 4 {
		t.Errorf("before the flush the lane says that it is at %d, want 4", got.Until)
	}
	r.step.Reset()
	until := began.Add(5 * time.Second).UnixMilli()
	got, ok := r.run(func(ctx context.Context) bool { return r.chain.FlushUntil(ctx, r.step, until) })
	if !ok {
		t.Fatal("the chain did not go on")
	}
	if all := strings.Join(got, "\n"); strings.Count(all, "late") != 5 || strings.Count(all, "at-9") != 1 {
		t.Errorf("stored: %s", all)
	}
	if got := r.chain.Mark(); got.Until != 9 {
		t.Errorf("behind the flush the lane says that it is at %d, want 9", got.Until)
	}
	tick := r.step.Pending[0].Outputs[0].Reach[0].Tick
	if tick == 0 {
		t.Error("what is made behind a flush has no place of its own")
	}
}

// holding is a told that is flushed, and holds back until a time that changes.
type holding struct {
	told
	held *int64
}

func (s *holding) Flush(_ context.Context, now time.Time, final bool, b *stage.Batch) error {
	return s.flush(now, final, b)
}

func (s *holding) Watermark(ctx context.Context, input int, until time.Time, b *stage.Batch) (time.Time, error) {
	s.told.held = *s.held
	return s.told.Watermark(ctx, input, until, b)
}

// TestWhatIsHeldBackIsNotPast: a stage that holds events back bounds what its outputs say.
func TestWhatIsHeldBackIsNotPast(t *testing.T) {
	var saw []string
	r := newRig(t, fake{})
	r.stateful, r.stages = true, []stage.Stage{told{saw: &saw, held: 4}}
	r.inputs = []chain.Input{{From: "one/out", Stream: "IN", Writers: 1}}
	r.open(nil)
	r.next(saying(t, 0, "one.0", progress.Mark{Until: 9, Newest: 9}, "a"), saying(t, 0, "one.1", progress.Mark{Until: 9, Newest: 9}, "b"))
	if got := r.chain.Mark(); got.Until != 4 {
		t.Errorf("the lane says that it is at %d, and holds back what came behind 4", got.Until)
	}
}

// TestNewDeadLetters: a stage with state makes dead letters of what it holds, once.
func TestNewDeadLetters(t *testing.T) {
	r := newRig(t, fake{flush: func(now time.Time, final bool, b *stage.Batch) error {
		if final {
			b.ProduceDeadLetter(&eventv1.Event{Id: "held", Source: "s", Type: "t"}, "too_long", errNo)
		}
		return nil
	}})
	r.stateful = true
	r.open(nil)
	r.next(frame(t, "a"))
	r.step.Reset()
	got, ok := r.run(func(ctx context.Context) bool { return r.chain.FlushFinal(ctx, r.step, func(error) {}) })
	if want := []string{"a.dead.0: held too_long"}; !ok || !cmp.Equal(want, got) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := r.step.Tallies[0].DeadLettered; n != 0 {
		t.Errorf("%d received events are counted as dead, and none was", n)
	}
}
