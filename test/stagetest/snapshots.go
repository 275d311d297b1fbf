package stagetest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/test/golden"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/stage"
)

func (s *Suite) snapshots(t *testing.T, want []replay.Step) {
	t.Run("a restored state is the same again and again", func(t *testing.T) { s.same(t, want, s.moving(t, s.start(t), s.Messages)) })
	t.Run("a restored state knows what was recalled", func(t *testing.T) { s.recalled(t, want) })
	t.Run("the same state makes the same snapshot", s.equalSnapshots)
	t.Run("a damaged snapshot is refused", s.damaged)
	t.Run("a snapshot of another config is refused", s.otherConfig)
}

// moves is how often an instance moves in one list of messages, at most.
const moves = 250

// moving has another instance take each message, or each few of a long list: one that was restored after those before.
func (s *Suite) moving(t *testing.T, in *replay.Instance, messages []replay.Message) (steps []replay.Step) {
	t.Helper()
	for few := range slices.Chunk(messages, 1+len(messages)/moves) {
		before := in.Stage
		in.Move(s.instance(t))
		if err := before.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		steps = append(steps, in.Run(few)...)
	}
	return steps
}

// recalled has instances move that know of the time before them from a takeover.
func (s *Suite) recalled(t *testing.T, want []replay.Step) {
	at := len(s.Messages) * 2 / 3
	end := min(at+300, len(s.Messages))
	for name, begin := range map[string]func(testing.TB, stage.Stage, []replay.Message, int, []replay.Step) *replay.Instance{
		"replayed and recalled": replay.Rebuild, "recalled": replay.Recall,
	} {
		undisturbed := begin(t, s.instance(t), s.Messages, at, want).Run(s.Messages[at:end])
		if d := replay.Diff(undisturbed, s.moving(t, begin(t, s.instance(t), s.Messages, at, want), s.Messages[at:end]), at); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func (s *Suite) equalSnapshots(t *testing.T) {
	var first []byte
	for range 2 {
		in := s.start(t)
		in.Run(s.Messages)
		if b := in.Snapshot(); first == nil {
			first = b
		} else if !bytes.Equal(first, b) {
			t.Error("two instances with the same input make different snapshots")
		}
	}
}

func (s *Suite) restore(t *testing.T, b []byte) error {
	t.Helper()
	in, ok := s.start(t).Stage.(stage.Snapshotter)
	if !ok {
		t.Fatal("no stage.Snapshotter")
	}
	return in.Restore(b)
}

func (s *Suite) damaged(t *testing.T) {
	in := s.start(t)
	in.Run(s.Messages)
	whole := in.Snapshot()
	r := rand.New(rand.NewPCG(3, 3))
	for range 100 {
		b := bytes.Clone(whole)
		b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
		if s.restore(t, b) == nil {
			t.Fatal("restored from a snapshot with a wrong byte")
		}
		if s.restore(t, whole[:r.IntN(len(whole))]) == nil {
			t.Fatal("restored from a part of a snapshot")
		}
	}
	if s.restore(t, nil) == nil {
		t.Error("restored from nothing")
	}
	if err := s.restore(t, whole); err != nil {
		t.Errorf("the whole snapshot is refused: %v", err)
	}
}

func (s *Suite) otherConfig(t *testing.T) {
	in := s.start(t)
	in.Run(s.Messages)
	other := *s
	other.Config.Stage += "-2"
	if other.restore(t, in.Snapshot()) == nil {
		t.Error("a stage of another name was restored")
	}
}

// The format of a snapshot (package state) has a head before the state, with version and config, and a checksum behind it.
const (
	snapshotHead = 18
	snapshotSum  = 8
)

// Format holds the bytes of a state against testdata/state-v<version>.hex: what makes other bytes of a state has another version, or
// an older worker would misread them.
func Format(t *testing.T, version int, s stage.Snapshotter) {
	t.Helper()
	kept := snapshotOf(t, s)
	golden.Check(t, fmt.Sprintf("testdata/state-v%d.hex", version), hex.Dump(kept[snapshotHead:len(kept)-snapshotSum]))
}

func snapshotOf(t testing.TB, s stage.Snapshotter) []byte {
	t.Helper()
	kept, err := s.Snapshot(nil)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// FuzzRestore gives new instances states that say anything, with the head of a snapshot of s: what is restored makes a snapshot that can be
// restored.
func FuzzRestore(f *testing.F, s stage.Snapshotter, fresh func() stage.Snapshotter) {
	whole := snapshotOf(f, s)
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < snapshotHead+snapshotSum {
			return
		}
		b = append(bytes.Clone(whole[:snapshotHead]), b[snapshotHead:]...)
		binary.BigEndian.PutUint64(b[len(b)-snapshotSum:], xxh3.Hash(b[:len(b)-snapshotSum]))
		in := fresh()
		if in.Restore(b) != nil {
			return
		}
		if err := fresh().Restore(snapshotOf(t, in)); err != nil {
			t.Fatalf("a snapshot of what was restored: %v", err)
		}
	})
}

// BenchmarkSnapshot is of a state of n units, such as series.
func BenchmarkSnapshot(b *testing.B, s stage.Snapshotter, fresh func() stage.Snapshotter, n int, unit string) {
	kept := snapshotOf(b, s)
	b.Run("snapshot", func(b *testing.B) {
		for b.Loop() {
			var err error
			if kept, err = s.Snapshot(kept[:0]); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(kept))/float64(n), "bytes/"+unit)
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if err := fresh().Restore(kept); err != nil {
				b.Fatal(err)
			}
		}
	})
}
