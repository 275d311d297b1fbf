package replay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// Story is a generated story as frames of 1 to 20 events. Events are stored about when they
// happened, one in a hundred late by up to late; lines that come twice do so up to two
// seconds apart. Lines that are no event are left out.
func Story(t testing.TB, o generator.Options, late time.Duration) (messages []Message) {
	t.Helper()
	story, err := generator.Generate(o)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(o.Seed, 1))
	events := arrivals(story.Lines, o.End.Add(-generator.Length), func() time.Duration {
		after := time.Duration(r.ExpFloat64() * float64(200*time.Millisecond))
		if r.IntN(100) == 0 {
			after += time.Duration(r.Int64N(int64(late) + 1))
		}
		return after
	})
	header := map[string][]string{"Content-Type": {event.ContentTypeFrame}}
	for len(events) > 0 {
		n := min(1+r.IntN(20), len(events))
		var w frame.Writer
		w.Begin(frame.Header{})
		for _, e := range events[:n] {
			w.AddEncoded(e.encoded, 0)
		}
		// A frame is stored with its last event.
		messages = append(messages, Message{Stored: events[n-1].stored, Header: header, Data: w.AppendTo(nil)})
		events = events[n:]
	}
	return messages
}

// arrival is an event on its way.
type arrival struct {
	stored  time.Time
	encoded []byte
}

// arrivals are the events of lines in the order in which they are stored: each after its
// time, or after that of the line before when it has none.
func arrivals(lines [][]byte, begin time.Time, after func() time.Duration) (out []arrival) {
	decoder := decode.New(decode.Limits{})
	for _, line := range lines {
		decoder.Reset()
		events, _ := decoder.Decode(nil, decode.Message{Data: line})
		for i := range events {
			if events[i].Time > 0 {
				begin = time.Unix(0, events[i].Time)
			}
			out = append(out, arrival{begin.Add(after()), events[i].AppendProto(nil)})
		}
	}
	slices.SortStableFunc(out, func(a, b arrival) int { return a.stored.Compare(b.stored) })
	return out
}
