package progress

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The header is part of the contract between an old and a new worker.
// TestPositionsInSeconds: releases that flushed at whole seconds alone wrote these.
func TestPositionsInSeconds(t *testing.T) {
	got := ParseReach("in@x:7.1700000000.1 out@y:8.1152921504606846976.0 dead@z:9.0.3", []Place{{"in", "x"}, {"out", "y"}, {"dead", "z"}})
	want := []Position{{Seq: 7, Tick: 1700000000_000, Index: 1}, {Seq: 8, Tick: FinalTick}, {Seq: 9, Index: 3}}
	if !slices.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPositions(t *testing.T) {
	places := []Place{{"ingress", "abc"}, {"other/out", "xyz"}}
	for text, reach := range map[string][]Position{
		"":                                    {{}, {}},
		"ingress@abc:7.1700000000200.0":       {{Seq: 7, Tick: 1700000000_200}, {}},
		"ingress@abc:7.1152921504606846976.0": {{Seq: 7, Tick: FinalTick}, {}},
		"ingress@abc:7.0.3":                   {{Seq: 7, Index: 3}, {}},
		"ingress@abc:7.1700000000.67108864":   {{Seq: 7, Tick: 1700000000_000, Index: 67108864}, {}},
		"ingress@abc:18446744073709551615.0.0 other/out@xyz:2.0.1": {{Seq: 1<<64 - 1}, {Seq: 2, Index: 1}},
	} {
		if got := string(AppendReach(nil, places, reach)); got != text {
			t.Errorf("encoded %v as %q, want %q", reach, got, text)
		}
		if diff := cmp.Diff(reach, ParseReach(text, places)); diff != "" {
			t.Errorf("decoded %q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"ingress@old:7.0.3", "renamed@abc:7.0.3", "ingress@abc:7.0", "ingress@abc:x.0.0", "nonsense", ":"} {
		if got := ParseReach(text, places); got[0] != (Position{}) || got[1] != (Position{}) {
			t.Errorf("%q was read as %v", text, got)
		}
	}
	sorted := []Position{{Seq: 1}, {Seq: 1, Index: 9}, {Seq: 1, Index: ProducedIndex(0)}, {Seq: 1, Index: ProducedIndex(1)}, {Seq: 1, Tick: 5}, {Seq: 1, Tick: FinalTick}, {Seq: 2}}
	for i := range sorted[1:] {
		if !sorted[i+1].After(sorted[i]) || sorted[i].After(sorted[i+1]) || sorted[i].After(sorted[i]) {
			t.Errorf("%v and %v are not in order", sorted[i], sorted[i+1])
		}
	}
}
