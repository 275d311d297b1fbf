package kubernetes

import (
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
}

const headVersion = 1

// store keeps checkpoints in a KV bucket: one key for each shard, and the head, which is
// written last.
type store struct {
	kv     jetstream.KeyValue
	prefix string
}

func newStore(kv jetstream.KeyValue, cluster string) store {
	return store{kv, keyToken(cluster) + "."}
}

// keyToken replaces what a key may not hold.
func keyToken(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, s)
}

func (s store) shardKey(i int) string { return fmt.Sprintf("%sshard.%02d", s.prefix, i) }

// save writes a checkpoint. A crash between two writes is harmless: a shard that is newer
// than the head is brought to the same state by the frames behind the head.
func (s store) save(ctx context.Context, c *checkpoint, h head) error {
	for i, body := range c.shards {
		if _, err := s.kv.Put(ctx, s.shardKey(i), body); err != nil {
			return fmt.Errorf("write checkpoint: %w", err)
		}
	}
	return s.saveHead(ctx, h)
}

func (s store) saveHead(ctx context.Context, h head) error {
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	if _, err := s.kv.Put(ctx, s.prefix+"head", text); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

// load reads the last checkpoint; found is false when there is none.
func (s store) load(ctx context.Context) (l *ledger, h head, found bool, err error) {
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
	for i := range l.objects {
		if err := s.loadShard(ctx, l, i); err != nil {
			return nil, h, false, err
		}
	}
	return l, h, true, nil
}

func (s store) loadShard(ctx context.Context, l *ledger, i int) error {
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
