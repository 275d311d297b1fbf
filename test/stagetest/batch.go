package stagetest

import (
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// Batch is a batch of events that one message held, tried for the first time.
func Batch(t testing.TB, events ...*eventv1.Event) *stage.Batch {
	t.Helper()
	b := &stage.Batch{}
	for i, p := range events {
		e, err := event.FromProto(p, event.Origin{Sequence: 1, Index: i})
		if err != nil {
			t.Fatal(err)
		}
		b.Events = append(b.Events, e)
	}
	b.Reset(1)
	return b
}
