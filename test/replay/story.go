package replay

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/workers/event"
)

// Story is a generated story as messages of several events. Events are stored about when
// they happened, some of them late by up to late; lines that come twice do so up to two
// seconds apart.
func Story(t testing.TB, o generator.Options, late time.Duration) []Message {
	t.Helper()
	story, err := generator.Generate(o)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(o.Seed, 1))
	decoder := event.NewDecoder(event.Limits{})
	var arrived []Message
	last := o.End.Add(-generator.Length)
	for _, line := range story.Lines {
		decoder.Reset()
		events, _ := decoder.Decode(nil, event.Message{Data: line})
		if len(events) == 1 && events[0].Time > 0 {
			last = time.Unix(0, events[0].Time)
		}
		after := time.Duration(r.ExpFloat64() * float64(200*time.Millisecond))
		if r.IntN(100) == 0 {
			after += time.Duration(r.Int64N(int64(late) + 1))
		}
		arrived = append(arrived, Message{Stored: last.Add(after), Data: line})
	}
	slices.SortStableFunc(arrived, func(a, b Message) int { return a.Stored.Compare(b.Stored) })
	return pack(r, arrived)
}

// pack makes messages of 1 to 20 lines each; a message is stored with its last line.
func pack(r *rand.Rand, lines []Message) (out []Message) {
	for len(lines) > 0 {
		n := min(1+r.IntN(20), len(lines))
		var data [][]byte
		for _, l := range lines[:n] {
			data = append(data, l.Data)
		}
		out = append(out, Message{Stored: lines[n-1].Stored, Data: bytes.Join(data, []byte("\n"))})
		lines = lines[n:]
	}
	return out
}
