package kubernetes

import (
	"context"
	"errors"
	"fmt"
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
	kv, err := bucket(t.Context(), js, "checkpoints")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// start loads what is there, as a collector does that starts.
func start(t *testing.T, kv jetstream.KeyValue, cluster string) (s *store, l *ledger, h head, found bool) {
	t.Helper()
	s = newStore(kv, cluster)
	l, h, found, err := s.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s, l, h, found
}

// writeLedger saves what has changed in l.
func writeLedger(t *testing.T, s *store, l *ledger, sequence uint64) error {
	t.Helper()
	return s.save(t.Context(), newCheckpoint(l, time.Time{}), head{Version: headVersion, Sequence: sequence})
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
	s := newStore(kv, "eu/west 1")
	if _, _, found, err := s.load(t.Context()); found || err != nil {
		t.Fatalf("empty bucket: got %v, %v", found, err)
	}
	l := newLedger()
	for i := range 1000 {
		l.set(fmt.Sprint("pod-", i), kindPod, "restarted/app", fmt.Sprint(i))
	}
	since := time.Unix(1000, 0).UTC()
	h := head{Version: headVersion, Stream: "RAW", Created: since, Sequence: 17, Since: since}
	if err := s.save(t.Context(), newCheckpoint(l, since), h); err != nil {
		t.Fatal(err)
	}
	if c := newCheckpoint(l, since); c != nil {
		t.Errorf("nothing has changed: got a checkpoint of %d shards", len(c.shards))
	}
	l.set("pod-1", kindPod, "failed", "1")
	c := newCheckpoint(l, since)
	if len(c.shards) != 1 {
		t.Errorf("one object has changed: got %d shards, want 1", len(c.shards))
	}
	h.Sequence = 18
	if err := s.save(t.Context(), c, h); err != nil {
		t.Fatal(err)
	}
	got, gotHead, found, err := s.load(t.Context())
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if diff := cmp.Diff(l.objects, got.objects); diff != "" {
		t.Errorf("-saved +loaded\n%s", diff)
	}
	if diff := cmp.Diff(h, gotHead); diff != "" {
		t.Errorf("head: -saved +loaded\n%s", diff)
	}
	// Another cluster in the same bucket starts from nothing.
	if _, _, found, err := newStore(kv, "other").load(t.Context()); found || err != nil {
		t.Errorf("other cluster: got %v, %v", found, err)
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
	var err error
	if kv.KeyValue, err = bucket(t.Context(), p.js, "checkpoints"); err != nil {
		t.Fatal(err)
	}
	p.store = newStore(kv, "test")
	l := newLedger()
	for i := range 1000 {
		l.set(fmt.Sprint("pod-", i), kindPod, "failed", "1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	if err := p.save(ctx, newCheckpoint(l, time.Time{})); err != nil {
		t.Fatal(err)
	}
	for key, n := range kv.writes {
		if n != 1 {
			t.Errorf("%s was written %d times", key, n)
		}
	}
	if n := len(kv.writes); n != shards+1 {
		t.Errorf("%d keys were written, want %d", n, shards+1)
	}
	if _, got, _, _ := start(t, kv, "test"); got.size() != 1000 {
		t.Errorf("got %d objects, want 1000", got.size())
	}
}

// An acknowledgement that got lost is no reason to end.
func TestCheckpointWhoseAckWasLost(t *testing.T) {
	kv := newBucket(t)
	s, l, _, _ := start(t, kv, "test")
	l.set("pod", kindPod, "failed", "1")
	c := newCheckpoint(l, time.Time{})
	shard := shardOf("pod")
	if _, err := kv.Put(t.Context(), s.shardKey(shard), c.shards[shard]); err != nil {
		t.Fatal(err)
	}
	if err := s.save(t.Context(), c, head{Version: headVersion, Sequence: 1}); err != nil {
		t.Error(err)
	}
	l.set("pod", kindPod, "failed", "2")
	if err := writeLedger(t, s, l, 2); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// A collector that goes on although another one took over does not write over its checkpoint.
func TestSupersededCheckpoint(t *testing.T) {
	kv := newBucket(t)
	first, ours, _, _ := start(t, kv, "test")
	ours.set("pod", kindPod, "restarted/app", "1")
	if err := writeLedger(t, first, ours, 1); err != nil {
		t.Fatal(err)
	}
	second, theirs, _, _ := start(t, kv, "test")
	theirs.set("pod", kindPod, "restarted/app", "2")
	if err := writeLedger(t, second, theirs, 2); err != nil {
		t.Fatal(err)
	}
	ours.set("pod", kindPod, "failed", "1")
	if err := writeLedger(t, first, ours, 1); !errors.Is(err, ErrCheckpointLost) {
		t.Errorf("got %v, want ErrCheckpointLost", err)
	}
	_, got, h, _ := start(t, kv, "test")
	if diff := cmp.Diff(theirs.objects, got.objects); diff != "" || h.Sequence != 2 {
		t.Errorf("sequence %d; -written by the second +loaded\n%s", h.Sequence, diff)
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
			s, l, _, _ := start(t, kv, "test")
			l.set("pod", kindPod, "failed", "1")
			l.set("node", kindNode, "condition/Ready", "1.True")
			if err := writeLedger(t, s, l, 1); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"test.head", s.shardKey(shardOf("node"))} {
				if err := remove(t.Context(), kv, key); err != nil {
					t.Fatal(err)
				}
			}
			s, l, _, found := start(t, kv, "test")
			if found || l.size() != 0 {
				t.Errorf("got a checkpoint of %d objects", l.size())
			}
			l.set("pod", kindPod, "failed", "2")
			l.set("node", kindNode, "condition/Ready", "2.True")
			if err := writeLedger(t, s, l, 1); err != nil {
				t.Fatal(err)
			}
			_, got, _, found := start(t, kv, "test")
			if diff := cmp.Diff(l.objects, got.objects); diff != "" || !found {
				t.Errorf("found %v; -saved +loaded\n%s", found, diff)
			}
		})
	}
}

// Clusters whose names differ in what a key may not hold have checkpoints of their own.
func TestClustersDoNotShareACheckpoint(t *testing.T) {
	kv := newBucket(t)
	names := []string{"eu_prod", "eu.prod", "eu prod", "éu.prod"}
	for i, name := range names {
		s, l, _, found := start(t, kv, name)
		if found || l.size() != 0 {
			t.Errorf("%s: there is a checkpoint of %d objects", name, l.size())
		}
		l.set(name, kindPod, "failed", fmt.Sprint(i))
		if err := s.save(t.Context(), newCheckpoint(l, time.Time{}), head{Version: headVersion, Cluster: name}); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names {
		if _, l, _, found := start(t, kv, name); !found || l.size() != 1 || l.get(name).value("failed") != fmt.Sprint(i) {
			t.Errorf("%s: found %v, %d objects", name, found, l.size())
		}
	}
}

// Earlier releases kept the checkpoint of eu.prod under the key of eu_prod, without a name in it.
func TestCheckpointOfAnEarlierRelease(t *testing.T) {
	kv := newBucket(t)
	s, l, _, _ := start(t, kv, "eu_prod")
	for i := range 100 {
		l.set(fmt.Sprint("pod-", i), kindPod, "failed", "1")
	}
	since := time.Unix(1000, 0).UTC()
	if err := s.save(t.Context(), newCheckpoint(l, since), head{Version: headVersion, Stream: "RAW", Sequence: 7, Since: since}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"eu_prod", "eu.prod"} {
		s, got, h, found := start(t, kv, name)
		if diff := cmp.Diff(l.objects, got.objects); diff != "" || !found || !h.Since.Equal(since) {
			t.Errorf("%s: found %v, since %s; -saved +loaded\n%s", name, found, h.Since, diff)
		}
		if name == "eu_prod" {
			continue
		}
		// It may have been the other cluster's, which says nothing about frames of this one.
		if h.Sequence != 0 {
			t.Errorf("%s: sequence %d, want 0", name, h.Sequence)
		}
		// All of it is written under the new key.
		if err := s.save(t.Context(), newCheckpoint(got, since), head{Version: headVersion, Cluster: name, Sequence: 8}); err != nil {
			t.Fatal(err)
		}
		if _, again, h, _ := start(t, kv, name); cmp.Diff(l.objects, again.objects) != "" || h.Sequence != 8 {
			t.Errorf("%s: read back: sequence %d, %d objects", name, h.Sequence, again.size())
		}
	}
}
