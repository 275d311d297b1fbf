package lease

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWatch(t *testing.T) {
	// look is one look at the beats, at a second.
	type look struct {
		at    float64
		beats map[string]uint64
		skip  bool // before it
		want  []string
	}
	for name, looks := range map[string][]look{
		"dead after expire, not before": {
			{at: 100, beats: map[string]uint64{"a": 1}},
			{at: 102, beats: map[string]uint64{"a": 1}},
			{at: 104, beats: map[string]uint64{"a": 1}},
			{at: 105.9, beats: map[string]uint64{"a": 1}},
			{at: 106, beats: map[string]uint64{"a": 1}, want: []string{"a"}},
		},
		"any other beat is a sign of life, a smaller one too": {
			{at: 0, beats: map[string]uint64{"a": 7, "b": 7}},
			{at: 3, beats: map[string]uint64{"a": 1, "b": 7}},
			{at: 6, beats: map[string]uint64{"a": 1, "b": 7}, want: []string{"b"}},
			{at: 9, beats: map[string]uint64{"a": 1, "b": 7}, want: []string{"a", "b"}},
		},
		"who went and came again is new": {
			{at: 0, beats: map[string]uint64{"a": 1}},
			{at: 3, beats: nil},
			{at: 6, beats: map[string]uint64{"a": 1}},
		},
		"time without a look does not count": {
			{at: 0, beats: map[string]uint64{"a": 1}},
			{at: 2, beats: map[string]uint64{"a": 1}},
			{at: 1000, beats: map[string]uint64{"a": 1}},
			{at: 1002, beats: map[string]uint64{"a": 1}},
			{at: 1004, beats: map[string]uint64{"a": 1}, want: []string{"a"}},
		},
		"time without a write does not count": {
			{at: 0, beats: map[string]uint64{"a": 1}},
			{at: 2, beats: map[string]uint64{"a": 1}, skip: true},
			{at: 4, beats: map[string]uint64{"a": 1}, skip: true},
			{at: 6, beats: map[string]uint64{"a": 1}},
			{at: 8, beats: map[string]uint64{"a": 1}},
			{at: 10, beats: map[string]uint64{"a": 1}, want: []string{"a"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch{expire: 6 * time.Second}
			for _, l := range looks {
				table := Table{Workers: map[string]Worker{}}
				for id, beat := range l.beats {
					table.Workers[id] = Worker{Beat: beat}
				}
				if l.skip {
					w.skip()
				}
				at := time.Unix(0, 0).Add(time.Duration(l.at * float64(time.Second)))
				if diff := cmp.Diff(l.want, slices.Sorted(maps.Keys(w.look(table, at, at)))); diff != "" {
					t.Errorf("at %v s (-want +got):\n%s", l.at, diff)
				}
			}
		})
	}
}
