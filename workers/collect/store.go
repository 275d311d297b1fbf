package collect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Shards is the number of parts in which a checkpoint is stored: only changed ones are written.
const Shards = 64

// Checkpoint is what a source knows at one moment: the parts that changed since the last one.
type Checkpoint struct {
	// Shards are the changed parts by number, compressed, as Add puts them there.
	Shards map[int][]byte
	// Head returns what says what the shards stand for: a struct that embeds Position, as it is encoded in JSON.
	Head func(Position) any
}

// NewCheckpoint returns a checkpoint without shards.
func NewCheckpoint(head func(Position) any) *Checkpoint {
	return &Checkpoint{Shards: map[int][]byte{}, Head: head}
}

// Add compresses a part that changed.
func (c *Checkpoint) Add(shard int, text []byte) { c.Shards[shard] = s2.Encode(nil, text) }

// Position is which messages the shards of a checkpoint know of.
type Position struct {
	Version int `json:"version"`
	// Cluster is whose it is; empty = an earlier release wrote it.
	Cluster string `json:"cluster,omitempty"`
	// Stream and its creation tell a stream that was made anew.
	Stream  string    `json:"stream"`
	Created time.Time `json:"created"`
	// Sequence is the last one that the shards know of.
	Sequence uint64 `json:"sequence"`
}

// After is the sequence of the first message on a stream that the shards may not know of.
func (p Position) After(s *Stream) uint64 {
	first := max(s.First, 1)
	if p.Stream == s.Name && p.Created.Equal(s.Created) {
		return max(first, p.Sequence+1)
	}
	return first
}

// Saved is a checkpoint that was read back.
type Saved struct {
	Position
	// Head is the JSON of the head.
	Head []byte
	// Shards are all parts by number, as they were before Add.
	Shards map[int][]byte
	// Moved says that it was under the key of an earlier release: the next checkpoint must have all shards.
	Moved bool
}

const headVersion = 1

// Store keeps checkpoints in a KV bucket: one key for each shard, and the head, which is
// written last.
type Store struct {
	kv     jetstream.KeyValue
	prefix string
	// shared is the prefix that earlier releases used, when it is another one.
	shared string
	// revision of the head that was read or written last, and those of the shards; 0 = there
	// was none. Each is written only behind it: a collector that does not know yet that another
	// one took over must not write over what that one has.
	revision  uint64
	revisions [Shards]uint64
}

const (
	// writeTimeout bounds a single write: how long all of them take depends on how far away
	// NATS is.
	writeTimeout = 5 * time.Second
	// writesAtOnce bounds the shards that are written at the same time.
	writesAtOnce = 16
)

// NewStore returns the store of a collector. Those that share a bucket have different names: the collector of a
// cluster has that of the cluster.
func NewStore(kv jetstream.KeyValue, name string) *Store {
	token := keyToken(name)
	if token == name {
		return &Store{kv: kv, prefix: token + "."}
	}
	// Other names have this token too, or are it.
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return &Store{kv: kv, prefix: token + "-" + strconv.FormatUint(h.Sum64(), 16) + ".", shared: token + "."}
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

func (s *Store) shardKey(i int) string { return fmt.Sprintf("%sshard.%02d", s.prefix, i) }

// Save writes a checkpoint; after an error another call goes on where this one ended. A crash
// between two writes is harmless: a shard that is newer than the head is brought to the same
// state by the frames behind the head.
func (s *Store) Save(ctx context.Context, c *Checkpoint, p Position) error {
	if err := s.saveShards(ctx, c); err != nil {
		return err
	}
	text, err := json.Marshal(c.Head(p))
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	return s.write(ctx, s.prefix+"head", text, &s.revision)
}

// saveShards writes the shards of c and takes those that are written out of it.
func (s *Store) saveShards(ctx context.Context, c *Checkpoint) error {
	var mu sync.Mutex
	group, failed := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for i, body := range maps.Clone(c.Shards) {
		group.Go(func() error {
			if failed.Err() != nil {
				return failed.Err()
			}
			if err := s.write(ctx, s.shardKey(i), body, &s.revisions[i]); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			delete(c.Shards, i)
			return nil
		})
	}
	return group.Wait()
}

// write puts a value behind the revision of its key that is known.
func (s *Store) write(ctx context.Context, key string, value []byte, known *uint64) error {
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
func (s *Store) compare(ctx context.Context, key string, value []byte, known *uint64) error {
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
func (s *Store) gone(ctx context.Context) error {
	_, err := s.kv.Status(ctx)
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: bucket %s", ErrCheckpointLost, s.kv.Bucket())
	}
	return nil
}

// Load reads the last checkpoint; found is false when there is none.
func (s *Store) Load(ctx context.Context) (saved Saved, found bool, err error) {
	saved, found, err = s.loadHead(ctx)
	if err != nil {
		return Saved{}, false, err
	}
	saved.Shards = map[int][]byte{}
	for i := range Shards { // without a head, too: the next checkpoint is written behind their revisions
		text, err := s.loadShard(ctx, i)
		if err != nil {
			return Saved{}, false, err
		}
		if found && text != nil { // without a head nobody knows what they stand for
			saved.Shards[i] = text
		}
	}
	if !found && s.shared != "" {
		return s.loadShared(ctx)
	}
	return saved, found, nil
}

// loadShared takes over what an earlier release left. It may be that of another cluster: what it
// knows does no harm, but its sequence does not count. All frames are read, which brings what is ours
// to where it was.
func (s *Store) loadShared(ctx context.Context) (Saved, bool, error) {
	saved, found, err := (&Store{kv: s.kv, prefix: s.shared}).Load(ctx)
	if err != nil || !found || saved.Cluster != "" {
		return Saved{}, false, err
	}
	saved.Sequence, saved.Moved = 0, true
	return saved, true, nil
}

func (s *Store) loadHead(ctx context.Context) (saved Saved, found bool, err error) {
	entry, err := s.kv.Get(ctx, s.prefix+"head")
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Saved{}, false, nil
	}
	if err != nil {
		return Saved{}, false, fmt.Errorf("read checkpoint: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &saved.Position); err != nil {
		return Saved{}, false, fmt.Errorf("read checkpoint: key %s: %w", entry.Key(), err)
	}
	if saved.Version != headVersion {
		return Saved{}, false, fmt.Errorf("read checkpoint: key %s has version %d, this collector reads %d", entry.Key(), saved.Version, headVersion)
	}
	s.revision = entry.Revision()
	saved.Head = entry.Value()
	return saved, true, nil
}

// loadShard returns nil when there is no such shard.
func (s *Store) loadShard(ctx context.Context, i int) ([]byte, error) {
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
	return text, nil
}
