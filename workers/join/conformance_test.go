package join

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// settingsOfTests are those of a join of the branches a and b.
func settingsOfTests() config.Join {
	return config.Join{
		Expect: []string{"a/out", "b/out"}, Deadline: config.Duration(3 * time.Second),
		OnTimeout: config.JoinEmitPartial, Merge: config.JoinMerged, MaxPending: 1000, MaxBytes: 1 << 20,
	}
}

func configOf(change func(*config.Join)) config.StageConfig {
	j := settingsOfTests()
	if change != nil {
		change(&j)
	}
	return config.StageConfig{Kind: config.KindJoin, Stage: "together", Join: &j, Inputs: []config.Input{{From: "a/out"}, {From: "b/out"}}}
}

// fork is a story of two branches: each answers most events, in order, after a while of its own, and says now and then how far it is. At times one of
// them stands still for longer than the deadline.
func fork(events int) []replay.Message {
	r := rand.New(rand.NewPCG(3, 9))
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var all []replay.Message
	for branch := range 2 {
		stored := begin
		for n := range events {
			at := begin.Add(time.Duration(n) * 50 * time.Millisecond) // stored by the ingress
			if stored = stored.Add(time.Duration(r.IntN(60)) * time.Millisecond); stored.Before(at) {
				stored = at.Add(time.Duration(r.IntN(40)) * time.Millisecond)
			}
			if branch == 1 && n%400 == 150 {
				stored = stored.Add(5 * time.Second)
			}
			m := replay.Message{Stored: stored, Input: branch, Newest: at, Until: at, Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}}}
			if r.IntN(4) > 0 {
				m.Data = fmt.Appendf(nil, `{"id":"e%d","source":"s","type":"t","attributes":{"from.%d":"x","both":"%d"}}`, n, branch, r.IntN(2))
			} else if r.IntN(2) > 0 {
				continue // the next message says it
			}
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b replay.Message) int { return a.Stored.Compare(b.Stored) })
	return all
}

func TestConformance(t *testing.T) {
	for name, change := range map[string]func(*config.Join){
		"merge":        nil,
		"collect":      func(j *config.Join) { j.Merge = config.JoinCollect },
		"dead letters": func(j *config.Join) { j.OnTimeout = config.JoinDeadLetter },
		"one expected": func(j *config.Join) { j.Expect = j.Expect[1:] },
		"a key":        func(j *config.Join) { j.Key = "event.id" },
		"pairs": func(j *config.Join) {
			j.Key, j.Expect, j.Pairs = "event.id", nil, &config.JoinPairs{First: "'from.0' in event.attributes", Second: "'from.1' in event.attributes"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: configOf(change), Messages: fork(1200)})
		})
	}
}

// TestSnapshotsOfFewBarriers is about a bound: what a replay of the last part does not evict in the same place.
func TestSnapshotsOfFewBarriers(t *testing.T) {
	stagetest.Snapshots(t, stagetest.Suite{Factory: NewFactory(), Config: configOf(func(j *config.Join) { j.MaxPending = 8 }), Messages: fork(1200)})
}
