package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go/jetstream"
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
}

const headVersion = 1

// store keeps checkpoints in a KV bucket: one key for each shard, and the head, which is
// written last.
type store struct {
	kv     jetstream.KeyValue
	prefix string
	// revision of the head that was read or written last; 0 = there was none.
	revision uint64
}

func newStore(kv jetstream.KeyValue, cluster string) *store {
	return &store{kv: kv, prefix: keyToken(cluster) + "."}
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

// save writes a checkpoint. A crash between two writes is harmless: a shard that is newer
// than the head is brought to the same state by the frames behind the head.
func (s *store) save(ctx context.Context, c *checkpoint, h head) error {
	for i, body := range c.shards {
		if _, err := s.kv.Put(ctx, s.shardKey(i), body); err != nil {
			return fmt.Errorf("write checkpoint: %w", err)
		}
	}
	return s.saveHead(ctx, h)
}

// saveHead writes the head if nobody else has since this collector read or wrote it.
func (s *store) saveHead(ctx context.Context, h head) error {
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	// Revision 0 creates. A deleted bucket that somebody made anew has no such revision.
	revision, err := s.kv.Update(ctx, s.prefix+"head", text, s.revision)
	switch {
	case err == nil:
		s.revision = revision
		return nil
	case isWrongSequence(err):
		return s.compareHead(ctx, text)
	}
	return fmt.Errorf("write checkpoint: %w", err)
}

// compareHead tells whether the head is ours after all: its acknowledgement got lost.
func (s *store) compareHead(ctx context.Context, text []byte) error {
	entry, err := s.kv.Get(ctx, s.prefix+"head")
	switch {
	case err == nil && bytes.Equal(entry.Value(), text):
		s.revision = entry.Revision()
		return nil
	case err == nil, errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("%w: key %shead", ErrCheckpointLost, s.prefix)
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
	l = newLedger()
	entry, err := s.kv.Get(ctx, s.prefix+"head")
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return l, h, false, nil
	}
	if err != nil {
		return nil, h, false, fmt.Errorf("read checkpoint: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &h); err != nil {
		return nil, h, false, fmt.Errorf("read checkpoint: key %s: %w", entry.Key(), err)
	}
	if h.Version != headVersion {
		return nil, h, false, fmt.Errorf("read checkpoint: key %s has version %d, this collector reads %d", entry.Key(), h.Version, headVersion)
	}
	s.revision = entry.Revision()
	for i := range l.objects {
		if err := s.loadShard(ctx, l, i); err != nil {
			return nil, h, false, err
		}
	}
	return l, h, true, nil
}

func (s *store) loadShard(ctx context.Context, l *ledger, i int) error {
	entry, err := s.kv.Get(ctx, s.shardKey(i))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read checkpoint: %w", err)
	}
	text, err := s2.Decode(nil, entry.Value())
	if err != nil {
		return fmt.Errorf("read checkpoint: key %s: %w", entry.Key(), err)
	}
	objects := map[string]*record{}
	if err := json.Unmarshal(text, &objects); err != nil {
		return fmt.Errorf("read checkpoint: key %s: %w", entry.Key(), err)
	}
	l.objects[i] = objects
	return nil
}
