package chain_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// keyed has the stage give each event its id as its key.
func keyed(b *stage.Batch) error {
	for i := range b.Events {
		b.Events[i].SetPartitionKey(b.Events[i].ID)
	}
	return nil
}

// inPartition returns n ids whose partition of lanes is q.
func inPartition(q, lanes, n int) (ids []string) {
	for c := 'a'; len(ids) < n; c++ {
		if e := (event.Event{PartitionKey: string(c)}); e.PartitionOf(lanes) == q {
			ids = append(ids, string(c))
		}
	}
	return ids
}

// TestRepartition: a lane of several sends events to the partitions of their new keys, on subjects of its own, where the output says so;
// else to its own partition. Chained stages do the same.
func TestRepartition(t *testing.T) {
	own, other := inPartition(1, 3, 1)[0], inPartition(2, 3, 1)[0]
	for name, c := range map[string]struct {
		lane, lanes int
		repartition bool
		want        []string
	}{
		"one of several lanes":              {1, 3, true, []string{"a.out.1.1: " + own, "a.out.2.1: " + other, "b.out.1.1: " + own, "b.out.2.1: " + other}},
		"one of several lanes that keep it": {1, 3, false, []string{"a.out.1: " + own + " " + other, "b.out.1: " + own + " " + other}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fake{process: keyed}, fake{})
			r.lane, r.lanes, r.repartition = c.lane, c.lanes, c.repartition
			got := r.take(frame(t, own, other))
			slices.Sort(got)
			r.want(got, c.want...)
		})
	}
	t.Run("one lane", func(t *testing.T) {
		first, second := inPartition(0, 2, 1)[0], inPartition(1, 2, 1)[0]
		r := newRig(t, fake{process: keyed})
		r.repartition = true
		got := r.take(frame(t, first, second))
		slices.Sort(got)
		r.want(got, "a.out.0.0: "+first, "a.out.1.0: "+second)
	})
}

// TestOutletsOfLanes: each pair of partition and lane is an outlet of its own, which another lane does not have.
func TestOutletsOfLanes(t *testing.T) {
	for name, c := range map[string]struct {
		repartition bool
		want        []string
	}{
		"repartition": {true, []string{"a.late.0.1", "a.late.1.1", "a.late.2.1", "a.out.0.1", "a.out.1.1", "a.out.2.1"}},
		"keeps":       {false, []string{"a.late.1", "a.out.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fake{})
			r.lane, r.lanes, r.repartition = 1, 3, c.repartition
			var got []string
			for i, o := range r.open(nil).outlets {
				if o.Number != i {
					t.Errorf("outlet %d has number %d", i, o.Number)
				}
				if !o.Port.Single() {
					got = append(got, o.Pattern)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPartitionAndLane: a stage is told each lane that writes to a partition as one of its own.
func TestPartitionAndLane(t *testing.T) {
	for name, c := range map[string]struct {
		input   chain.Input
		subject string
		want    int
	}{
		"each lane of a partition":     {chain.Input{From: "a/out", Repartitioned: true}, "ns.a.2.1", 2*3 + 1},
		"no lane":                      {chain.Input{From: "a/out", Repartitioned: true}, "ns.a.2.x", -1},
		"the replay of a lane":         {chain.Input{From: "a/out", Repartitioned: true}, "ns.a.2.4", 3*3 + 2*3 + 1},
		"a lane that is too high":      {chain.Input{From: "a/out", Repartitioned: true}, "ns.a.2.6", -1},
		"a partition that is too high": {chain.Input{From: "a/out", Repartitioned: true}, "ns.a.3.2", -1},
		"no partition":                 {chain.Input{From: "a/out", Repartitioned: true}, "2", -1},
		"an ingress with partitions":   {chain.Input{From: "ingress", Repartitioned: true}, "ns.raw.2.1", -1},
	} {
		t.Run(name, func(t *testing.T) {
			got := -2
			r := newRig(t, fake{process: func(b *stage.Batch) error { got = b.Partition; return nil }})
			r.inputs, r.lane, r.lanes = []chain.Input{c.input}, 1, 3
			m := frame(t, "e")
			m.Subject = c.subject
			r.take(m)
			if got != c.want {
				t.Errorf("partition %d, want %d", got, c.want)
			}
		})
	}
}
