package chain_test

import (
	"context"
	"fmt"
	"testing"

	"millrace.dev/millrace/workers/stage"
)

// BenchmarkTake takes frames of 1,000 events through one stage: everything but decoding from NATS and storing.
func BenchmarkTake(b *testing.B) {
	const size = 1000
	var names []string
	for i := range size {
		names = append(names, fmt.Sprint("event-", i))
	}
	for _, c := range []struct {
		name    string
		process func(*stage.Batch) error
	}{
		{"on out", nil},
		{"on two ports", func(batch *stage.Batch) error {
			for i := range batch.Events {
				batch.Emit(i, stage.Out|late)
			}
			return nil
		}},
		{"filtered", func(batch *stage.Batch) error {
			for i := range batch.Events {
				batch.Filter(i)
			}
			return nil
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, fake{process: c.process})
			r.limits.MaxEvents = size
			r.open(nil)
			message := frame(b, names...)
			b.ReportAllocs()
			for seq := uint64(1); b.Loop(); seq++ {
				r.step.Reset()
				message.Sequence = seq
				r.add(message)
				if !r.chain.Take(context.Background(), r.step) || !r.chain.Through(context.Background(), r.step, func() bool { return true }) {
					b.Fatal("the chain did not go on")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/event")
		})
	}
}
