package view

import (
	"slices"
	"testing"
	"time"
)

// TestHistoryIsBounded: an hour of readings of a large pipeline stays below its bound, with the newest whole and the oldest still there.
func TestHistoryIsBounded(t *testing.T) {
	var h history
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := begin
	for ; now.Sub(begin) < 2*time.Hour; now = now.Add(FlowInterval) {
		h.add(&Flow{At: now, Stages: make([]StageFlow, 64), Edges: make([]EdgeFlow, 256)}, now)
		if h.size > historyBytes {
			t.Fatalf("%d bytes at %s", h.size, now)
		}
	}
	all := h.list()
	sum := 0
	for _, f := range all {
		sum += sizeOf(f)
	}
	if sum != h.size {
		t.Errorf("it has %d bytes and says %d", sum, h.size)
	}
	newest, oldest := all[len(all)-1].At, all[0].At
	if age := newest.Sub(oldest); age > historyFor || age < historyFor*9/10 {
		t.Errorf("it reaches back %s", age)
	}
	if !slices.IsSortedFunc(all, func(a, b *Flow) int { return a.At.Compare(b.At) }) {
		t.Error("it is out of order")
	}
	whole := 0
	for _, f := range all {
		if newest.Sub(f.At) < time.Minute {
			whole++
		}
	}
	if want := int(time.Minute / FlowInterval); whole != want {
		t.Errorf("%d readings of the last minute, want %d", whole, want)
	}
}

// TestRemovedMessages: a port that shares its stream is not said to shrink when messages expire.
func TestRemovedMessages(t *testing.T) {
	a, b := &PortLayout{Stage: "a", Port: "dead-letter"}, &PortLayout{Stage: "b", Port: "dead-letter"}
	seen := func(last, messages, ofA, ofB uint64) *streamSeen {
		s := &streamSeen{ports: 2, counts: map[string]uint64{a.String(): ofA, b.String(): ofB}}
		s.Last, s.Messages = last, messages
		return s
	}
	before := seen(100, 100, 80, 20)
	for name, test := range map[string]struct {
		now          *streamSeen
		wantA, wantB float64
	}{
		"nothing new":            {seen(100, 100, 80, 20), 0, 0},
		"new ones":               {seen(110, 110, 83, 27), 3, 7},
		"old ones have expired":  {seen(100, 50, 40, 10), 0, 0},
		"new and expired":        {seen(110, 60, 43, 17), 3, 7},
		"all have been replaced": {seen(200, 100, 80, 20), 80, 20},
	} {
		if gotA, gotB := stored(before, test.now, a), stored(before, test.now, b); gotA != test.wantA || gotB != test.wantB {
			t.Errorf("%s: got %g and %g, want %g and %g", name, gotA, gotB, test.wantA, test.wantB)
		}
	}
}
