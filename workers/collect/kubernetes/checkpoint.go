package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// checkpoint is the changed part of a ledger, encoded at one moment.
type checkpoint struct {
	shards map[int][]byte
	since  time.Time
	late   map[string]time.Time
}

// newCheckpoint encodes the changed shards of l and marks them clean; nil when none changed.
func newCheckpoint(l *ledger, since time.Time) *checkpoint {
	c := &checkpoint{shards: map[int][]byte{}, since: since}
	for i, dirty := range l.dirty {
		if !dirty {
			continue
		}
		text, err := json.Marshal(l.objects[i])
		if err != nil {
			continue // strings and numbers always encode
		}
		c.shards[i] = s2.Encode(nil, text)
		l.dirty[i] = false
	}
	if len(c.shards) == 0 {
		return nil
	}
	return c
}

// head says what the shards of a checkpoint stand for.
type head struct {
	Version int `json:"version"`
	// Cluster is whose it is; empty = an earlier release wrote it.
	Cluster string `json:"cluster,omitempty"`
	// Stream and its creation tell a stream that was made anew.
	Stream  string    `json:"stream"`
	Created time.Time `json:"created"`
	// Sequence is the last one that the shards know of.
	Sequence uint64 `json:"sequence"`
	// Since is from when on the collector tells what happened.
	Since time.Time `json:"since"`
	// Late are the kinds that were not listed with the others, for lack of a right, with a since
	// of their own; zero = they have not been listed yet.
	Late map[string]time.Time `json:"late,omitempty"`
	// Kinds are those that the collector watches; none = those that the first releases watched.
	Kinds []string `json:"kinds,omitempty"`
}

const headVersion = 1

// store keeps checkpoints in a KV bucket: one key for each shard, and the head, which is
// written last.
type store struct {
	kv     jetstream.KeyValue
	prefix string
	// shared is the prefix that earlier releases used, when it is another one.
	shared string
	// revision of the head that was read or written last, and those of the shards; 0 = there
	// was none. Each is written only behind it: a collector that does not know yet that another
	// one took over must not write over what that one has.
	revision  uint64
	revisions [shards]uint64
}

const (
	// writeTimeout bounds a single write: how long all of them take depends on how far away
	// NATS is.
	writeTimeout = 5 * time.Second
	// writesAtOnce bounds the shards that are written at the same time.
	writesAtOnce = 16
)

func newStore(kv jetstream.KeyValue, cluster string) *store {
	token := keyToken(cluster)
	if token == cluster {
		return &store{kv: kv, prefix: token + "."}
	}
	// Other names have this token too, or are it.
	return &store{kv: kv, prefix: token + "-" + hash(cluster) + ".", shared: token + "."}
}

// ErrCheckpointLost ends a collector whose checkpoint was deleted or overwritten: it holds
// only changes, which are no use without the rest. The next start reads the stream.
var ErrCheckpointLost = errors.New("the checkpoint was deleted or overwritten by somebody else")

// keyToken replaces what a key may not hold.
func keyToken(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, s)
}

func (s *store) shardKey(i int) string { return fmt.Sprintf("%sshard.%02d", s.prefix, i) }

// save writes a checkpoint; after an error another call goes on where this one ended. A crash
// between two writes is harmless: a shard that is newer than the head is brought to the same
// state by the frames behind the head.
func (s *store) save(ctx context.Context, c *checkpoint, h head) error {
	if err := s.saveShards(ctx, c); err != nil {
		return err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	return s.write(ctx, s.prefix+"head", text, &s.revision)
}

// saveShards writes the shards of c and takes those that are written out of it.
func (s *store) saveShards(ctx context.Context, c *checkpoint) error {
	var mu sync.Mutex
	group, failed := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for i, body := range maps.Clone(c.shards) {
		group.Go(func() error {
			if failed.Err() != nil {
				return failed.Err()
			}
			if err := s.write(ctx, s.shardKey(i), body, &s.revisions[i]); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			delete(c.shards, i)
			return nil
		})
	}
	return group.Wait()
}

// write puts a value behind the revision of its key that is known.
func (s *store) write(ctx context.Context, key string, value []byte, known *uint64) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var revision uint64
	var err error
	if *known == 0 {
		revision, err = s.kv.Create(ctx, key, value) // behind the mark of a deletion too
	} else {
		// A deleted bucket that somebody made anew has no such revision.
		revision, err = s.kv.Update(ctx, key, value, *known)
	}
	switch {
	case err == nil:
		*known = revision
		return nil
	case isWrongSequence(err):
		return s.compare(ctx, key, value, known)
	}
	return fmt.Errorf("write checkpoint: %w", err)
}

// compare tells whether a value is ours after all: its acknowledgement got lost.
func (s *store) compare(ctx context.Context, key string, value []byte, known *uint64) error {
	entry, err := s.kv.Get(ctx, key)
	switch {
	case err == nil && bytes.Equal(entry.Value(), value):
		*known = entry.Revision()
		return nil
	case err == nil, errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("%w: key %s", ErrCheckpointLost, key)
	}
	return fmt.Errorf("read checkpoint: %w", err)
}

// gone returns ErrCheckpointLost when the bucket does not exist any more.
func (s *store) gone(ctx context.Context) error {
	_, err := s.kv.Status(ctx)
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: bucket %s", ErrCheckpointLost, s.kv.Bucket())
	}
	return nil
}

// load reads the last checkpoint; found is false when there is none.
func (s *store) load(ctx context.Context) (l *ledger, h head, found bool, err error) {
	h, found, err = s.loadHead(ctx)
	if err != nil {
		return nil, h, false, err
	}
	l = newLedger()
	for i := range l.objects {
		objects, err := s.loadShard(ctx, i)
		if err != nil {
			return nil, h, false, err
		}
		if found && objects != nil { // without a head nobody knows what they stand for
			l.objects[i] = objects
		}
	}
	if !found && s.shared != "" {
		return s.loadShared(ctx, l)
	}
	return l, h, found, nil
}

// loadShared takes over what an earlier release left, or returns the empty ledger none. It may be
// that of another cluster: objects do no harm, but its sequence does not count. All frames are
// read, which brings what is ours to where it was.
func (s *store) loadShared(ctx context.Context, none *ledger) (*ledger, head, bool, error) {
	l, h, found, err := (&store{kv: s.kv, prefix: s.shared}).load(ctx)
	if err != nil {
		return nil, h, false, err
	}
	if !found || h.Cluster != "" {
		return none, head{}, false, nil
	}
	for i := range l.dirty {
		l.dirty[i] = true
	}
	h.Sequence = 0
	return l, h, true, nil
}

func (s *store) loadHead(ctx context.Context) (h head, found bool, err error) {
	entry, err := s.kv.Get(ctx, s.prefix+"head")
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return h, false, nil
	}
	if err != nil {
		return h, false, fmt.Errorf("read checkpoint: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &h); err != nil {
		return h, false, fmt.Errorf("read checkpoint: key %s: %w", entry.Key(), err)
	}
	if h.Version != headVersion {
		return h, false, fmt.Errorf("read checkpoint: key %s has version %d, this collector reads %d", entry.Key(), h.Version, headVersion)
	}
	s.revision = entry.Revision()
	return h, true, nil
}

// loadShard returns nil when there is no such shard.
func (s *store) loadShard(ctx context.Context, i int) (map[string]*record, error) {
	entry, err := s.kv.Get(ctx, s.shardKey(i))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	s.revisions[i] = entry.Revision()
	text, err := s2.Decode(nil, entry.Value())
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: key %s: %w", entry.Key(), err)
	}
	objects := map[string]*record{}
	if err := json.Unmarshal(text, &objects); err != nil {
		return nil, fmt.Errorf("read checkpoint: key %s: %w", entry.Key(), err)
	}
	return objects, nil
}
