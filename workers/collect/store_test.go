package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
)

func newBucket(t *testing.T) jetstream.KeyValue {
	t.Helper()
	return bucketIn(t, harness.JetStream(t, harness.RunEmbeddedNATS(t, natsserver.Options{})))
}

func bucketIn(t *testing.T, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	kv, err := OpenBucket(t.Context(), js, "checkpoints")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// testHead is the head of a collector that keeps one thing of its own in it.
type testHead struct {
	Position
	Since time.Time `json:"since"`
}

// of is a checkpoint of some shards.
func of(since time.Time, shards map[int]string) *Checkpoint {
	c := NewCheckpoint(func(p Position) any { return testHead{p, since} })
	for i, text := range shards {
		c.Add(i, []byte(text))
	}
	return c
}

// all is a checkpoint of all shards, each with a text of its own.
func all() map[int]string {
	shards := map[int]string{}
	for i := range Shards {
		shards[i] = fmt.Sprint("shard ", i)
	}
	return shards
}

// start loads what is there, as a collector does that starts.
func start(t *testing.T, kv jetstream.KeyValue, cluster string) (s *Store, saved Saved, found bool) {
	t.Helper()
	s = NewStore(kv, cluster)
	saved, found, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s, saved, found
}

// texts are the shards of a checkpoint that was read back.
func texts(saved Saved) map[int]string {
	shards := map[int]string{}
	for i, text := range saved.Shards {
		shards[i] = string(text)
	}
	return shards
}

// write saves shards up to a sequence.
func write(t *testing.T, s *Store, sequence uint64, shards map[int]string) error {
	t.Helper()
	return s.Save(t.Context(), of(time.Time{}, shards), Position{Version: headVersion, Sequence: sequence})
}

func TestCheckpoint(t *testing.T) { wantCheckpoints(t, newBucket(t)) }

// Behind a leaf node the bucket is in the domain of the hub.
func TestCheckpointInADomain(t *testing.T) {
	_, leaf := harness.RunEmbeddedLeaf(t, "far")
	js, err := jetstream.NewWithAPIPrefix(harness.JetStream(t, leaf).Conn(), config.Domain("far").API(""))
	if err != nil {
		t.Fatal(err)
	}
	wantCheckpoints(t, bucketIn(t, js))
}

func wantCheckpoints(t *testing.T, kv jetstream.KeyValue) {
	t.Helper()
	s, _, found := start(t, kv, "eu/west 1")
	if found {
		t.Fatal("there is a checkpoint in an empty bucket")
	}
	since := time.Unix(1000, 0).UTC()
	want := all()
	position := Position{Version: headVersion, Stream: "RAW", Created: since, Sequence: 17}
	if err := s.Save(t.Context(), of(since, want), position); err != nil {
		t.Fatal(err)
	}
	want[1], position.Sequence = "changed", 18
	if err := s.Save(t.Context(), of(since, map[int]string{1: "changed"}), position); err != nil {
		t.Fatal(err)
	}
	_, saved, found := start(t, kv, "eu/west 1")
	if diff := cmp.Diff(want, texts(saved)); diff != "" || !found {
		t.Errorf("found %v; -saved +loaded\n%s", found, diff)
	}
	if diff := cmp.Diff(position, saved.Position); diff != "" {
		t.Errorf("position: -saved +loaded\n%s", diff)
	}
	var h testHead
	if err := json.Unmarshal(saved.Head, &h); err != nil || !h.Since.Equal(since) {
		t.Errorf("head: got %s, %v, want since %s", saved.Head, err, since)
	}
	// Another cluster in the same bucket starts from nothing.
	if _, _, found := start(t, kv, "other"); found {
		t.Error("another cluster has the checkpoint, too")
	}
}

// remoteBucket is a bucket that is far away, and fails when it is told to.
type remoteBucket struct {
	jetstream.KeyValue
	delay time.Duration
	fail  func(key string) error

	mu     sync.Mutex
	writes map[string]int
}

func (b *remoteBucket) before(ctx context.Context, key string) error {
	select {
	case <-time.After(b.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(key); err != nil {
			return err
		}
	}
	b.writes[key]++
	return nil
}

func (b *remoteBucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	if err := b.before(ctx, key); err != nil {
		return 0, err
	}
	return b.KeyValue.Put(ctx, key, value)
}

func (b *remoteBucket) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	if err := b.before(ctx, key); err != nil {
		return 0, err
	}
	return b.KeyValue.Create(ctx, key, value, opts...)
}

func (b *remoteBucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := b.before(ctx, key); err != nil {
		return 0, err
	}
	return b.KeyValue.Update(ctx, key, value, revision)
}

// A checkpoint of all shards ends although 64 writes one after the other would take too long,
// and goes on where a failure left it.
func TestCheckpointOfAllShardsEnds(t *testing.T) {
	failures := 3
	kv := &remoteBucket{delay: 90 * time.Millisecond, writes: map[string]int{}, fail: func(string) error {
		if failures == 0 {
			return nil
		}
		failures--
		return nats.ErrTimeout
	}}
	p := newPublisher(t, natsserver.Options{})
	kv.KeyValue = bucketIn(t, p.JetStream)
	p.Store = NewStore(kv, "test")
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	want := all()
	if err := p.save(ctx, of(time.Time{}, maps.Clone(want))); err != nil {
		t.Fatal(err)
	}
	for key, n := range kv.writes {
		if n != 1 {
			t.Errorf("%s was written %d times", key, n)
		}
	}
	if n := len(kv.writes); n != Shards+1 {
		t.Errorf("%d keys were written, want %d", n, Shards+1)
	}
	_, got, _ := start(t, kv, "test")
	if diff := cmp.Diff(want, texts(got)); diff != "" {
		t.Errorf("-saved +loaded\n%s", diff)
	}
}

// An acknowledgement that got lost is no reason to end.
func TestCheckpointWhoseAckWasLost(t *testing.T) {
	kv := newBucket(t)
	s, _, _ := start(t, kv, "test")
	c := of(time.Time{}, map[int]string{7: "1"})
	if _, err := kv.Put(t.Context(), s.shardKey(7), c.Shards[7]); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), c, Position{Version: headVersion, Sequence: 1}); err != nil {
		t.Error(err)
	}
	if err := write(t, s, 2, map[int]string{7: "2"}); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// A collector that goes on although another one took over does not write over its checkpoint.
func TestSupersededCheckpoint(t *testing.T) {
	kv := newBucket(t)
	first, _, _ := start(t, kv, "test")
	if err := write(t, first, 1, map[int]string{7: "of the first"}); err != nil {
		t.Fatal(err)
	}
	second, _, _ := start(t, kv, "test")
	theirs := map[int]string{7: "of the second"}
	if err := write(t, second, 2, theirs); err != nil {
		t.Fatal(err)
	}
	if err := write(t, first, 1, map[int]string{7: "of the first, later"}); !errors.Is(err, ErrCheckpointLost) {
		t.Errorf("got %v, want ErrCheckpointLost", err)
	}
	_, got, _ := start(t, kv, "test")
	if diff := cmp.Diff(theirs, texts(got)); diff != "" || got.Sequence != 2 {
		t.Errorf("sequence %d; -written by the second +loaded\n%s", got.Sequence, diff)
	}
}

// Without its head a checkpoint is none, whatever else is there; the next one is written.
func TestDeletedHead(t *testing.T) {
	for name, remove := range map[string]func(context.Context, jetstream.KeyValue, string) error{
		"deleted": func(ctx context.Context, kv jetstream.KeyValue, key string) error { return kv.Delete(ctx, key) },
		"purged":  func(ctx context.Context, kv jetstream.KeyValue, key string) error { return kv.Purge(ctx, key) },
	} {
		t.Run(name, func(t *testing.T) {
			kv := newBucket(t)
			s, _, _ := start(t, kv, "test")
			if err := write(t, s, 1, map[int]string{7: "1", 8: "1"}); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"test.head", s.shardKey(8)} {
				if err := remove(t.Context(), kv, key); err != nil {
					t.Fatal(err)
				}
			}
			s, got, found := start(t, kv, "test")
			if found || len(got.Shards) != 0 {
				t.Errorf("got a checkpoint of %d shards", len(got.Shards))
			}
			want := map[int]string{7: "2", 8: "2"}
			if err := write(t, s, 1, want); err != nil {
				t.Fatal(err)
			}
			_, got, found = start(t, kv, "test")
			if diff := cmp.Diff(want, texts(got)); diff != "" || !found {
				t.Errorf("found %v; -saved +loaded\n%s", found, diff)
			}
		})
	}
}

// Clusters whose names differ in what a key may not hold have checkpoints of their own.
func TestClustersDoNotShareACheckpoint(t *testing.T) {
	kv := newBucket(t)
	names := []string{"eu_prod", "eu.prod", "eu prod", "éu.prod"}
	for _, name := range names {
		s, _, found := start(t, kv, name)
		if found {
			t.Errorf("%s: there is a checkpoint", name)
		}
		if err := s.Save(t.Context(), of(time.Time{}, map[int]string{7: name}), Position{Version: headVersion, Cluster: name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		if _, got, found := start(t, kv, name); !found || len(got.Shards) != 1 || string(got.Shards[7]) != name {
			t.Errorf("%s: found %v, %v", name, found, texts(got))
		}
	}
}

// Earlier releases kept the checkpoint of eu.prod under the key of eu_prod, without a name in it.
func TestCheckpointOfAnEarlierRelease(t *testing.T) {
	kv := newBucket(t)
	s, _, _ := start(t, kv, "eu_prod")
	want := all()
	if err := write(t, s, 7, want); err != nil {
		t.Fatal(err)
	}
	if _, got, found := start(t, kv, "eu_prod"); !found || got.Moved || got.Sequence != 7 {
		t.Errorf("eu_prod: found %v, moved %v, sequence %d", found, got.Moved, got.Sequence)
	}
	s, got, found := start(t, kv, "eu.prod")
	if diff := cmp.Diff(want, texts(got)); diff != "" || !found || !got.Moved {
		t.Errorf("eu.prod: found %v, moved %v; -saved +loaded\n%s", found, got.Moved, diff)
	}
	// It may have been the other cluster's, which says nothing about frames of this one.
	if got.Sequence != 0 {
		t.Errorf("sequence %d, want 0", got.Sequence)
	}
	// All of it is written under the new key.
	if err := s.Save(t.Context(), of(time.Time{}, want), Position{Version: headVersion, Cluster: "eu.prod", Sequence: 8}); err != nil {
		t.Fatal(err)
	}
	if _, again, _ := start(t, kv, "eu.prod"); cmp.Diff(want, texts(again)) != "" || again.Moved || again.Sequence != 8 {
		t.Errorf("read back: moved %v, sequence %d, %d shards", again.Moved, again.Sequence, len(again.Shards))
	}
}

// Replay begins behind what a checkpoint knows, unless the stream is another one or has lost messages.
func TestPositionIsThatOfOneStream(t *testing.T) {
	created := time.Unix(1000, 0)
	known := Position{Stream: "RAW", Created: created, Sequence: 17}
	for name, tc := range map[string]struct {
		position Position
		stream   Stream
		want     uint64
	}{
		"the same stream":        {known, Stream{Name: "RAW", Created: created, First: 1}, 18},
		"messages expired":       {known, Stream{Name: "RAW", Created: created, First: 40}, 40},
		"made anew":              {known, Stream{Name: "RAW", Created: created.Add(1), First: 2}, 2},
		"another one":            {known, Stream{Name: "OTHER", Created: created, First: 2}, 2},
		"no checkpoint":          {Position{}, Stream{Name: "RAW", Created: created, First: 2}, 2},
		"nothing is stored, yet": {Position{}, Stream{Name: "RAW", Created: created}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.position.After(&tc.stream); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
