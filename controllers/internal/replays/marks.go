package replays

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// Prefix is what all keys of replays begin with. No stage has such a name, so no table of leases has it.
const Prefix = plan.ReplayKeys

const (
	marksPrefix = Prefix + ".marks"
	// block is how many dead letters have their marks in one key.
	block = 1024
	// maxTimes is how many times of replays a key tells apart. The oldest count as one.
	maxTimes = 64
)

// Stream is the stream of the dead letters of a pipeline.
type Stream struct {
	Client *jetstream.Client
	// Bucket of the leases.
	Bucket string
	Name   string
	// Created is when the stream was made.
	Created time.Time
}

// marks are the value of a key.
type marks struct {
	Created time.Time `json:"created"`
	Times   []times   `json:"times"`
}

// times are the dead letters of a block that were published again in one go.
type times struct {
	At time.Time `json:"at"`
	// Bits has a bit for each dead letter of the block.
	Bits []byte `json:"bits"`
}

func (t *times) has(k uint64) bool { return int(k/8) < len(t.Bits) && t.Bits[k/8]&(1<<(k%8)) != 0 }

func (m *marks) at(k uint64) (at time.Time) {
	for i := range m.Times {
		if t := &m.Times[i]; t.has(k) && t.At.After(at) {
			at = t.At
		}
	}
	return at
}

// Marks say which dead letters were published again.
type Marks struct{ blocks map[uint64]*marks }

// At is when a dead letter was published again last; zero = never.
func (m *Marks) At(sequence uint64) time.Time {
	if b := m.blocks[sequence/block]; b != nil {
		return b.at(sequence % block)
	}
	return time.Time{}
}

// Read reads all marks of the dead letters of a stream. Where there is no bucket there are none.
func Read(ctx context.Context, c *jetstream.Client, bucket, stream string) (*Marks, error) {
	all := &Marks{map[uint64]*marks{}}
	have, err := c.Stream(stream)
	if err != nil {
		return nil, err
	}
	values, err := c.Values(ctx, bucket, marksPrefix+"."+stream)
	if errors.Is(err, jetstream.ErrNotFound) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		n, m := number(v.Key), parse(v.Data)
		if m != nil && m.Created.Equal(have.Created) {
			all.blocks[n] = m
		}
	}
	return all, nil
}

func number(key string) uint64 {
	n, _ := strconv.ParseUint(key[strings.LastIndexByte(key, '.')+1:], 10, 64)
	return n
}

// parse reads a value; nil = it is none of ours.
func parse(data []byte) *marks {
	var m marks
	if json.Unmarshal(data, &m) != nil {
		return nil
	}
	return &m
}

// read reads the marks of a block, from the leader of the bucket.
func (s Stream) read(ctx context.Context, n uint64) (m *marks, key string, revision uint64, err error) {
	key = fmt.Sprintf("%s.%s.%d", marksPrefix, s.Name, n)
	v, err := s.Client.Value(ctx, s.Bucket, key)
	if err != nil && !errors.Is(err, jetstream.ErrNotFound) {
		return nil, key, 0, err
	}
	if m = parse(v.Data); m == nil || !m.Created.Equal(s.Created) {
		m = &marks{Created: s.Created}
	}
	return m, key, v.Revision, nil
}

// Marked are those of some dead letters that are marked, as the leader of the bucket knows it.
func (s Stream) Marked(ctx context.Context, sequences []uint64) (map[uint64]bool, error) {
	all := map[uint64]bool{}
	for n, of := range byBlock(sequences) {
		m, _, _, err := s.read(ctx, n)
		if err != nil {
			return nil, err
		}
		for _, seq := range of {
			if !m.at(seq % block).IsZero() {
				all[seq] = true
			}
		}
	}
	return all, nil
}

// maxBytes is how large the bucket may be for more to be marked: workers keep their leases there, and must never find it full (16 MiB).
const maxBytes = 8 << 20

// ErrFull means that so much is marked that leases would be in danger.
var ErrFull = errors.New("too many dead letters are marked as published again")

// Room says whether there is room for more marks, and forgets those of dead letters that the stream no longer holds.
func (s Stream) Room(ctx context.Context) error {
	have, err := s.Client.Stream(s.Name)
	if err != nil {
		return err
	}
	values, err := s.Client.Values(ctx, s.Bucket, marksPrefix+"."+s.Name)
	if err != nil && !errors.Is(err, jetstream.ErrNotFound) {
		return err
	}
	for _, v := range values {
		m := parse(v.Data)
		if m != nil && m.Created.Equal(s.Created) && (number(v.Key)+1)*block > have.State.FirstSeq {
			continue
		}
		if _, err := s.Client.Put(ctx, s.Bucket, v.Key, nil, v.Revision); err != nil && !errors.Is(err, jetstream.ErrConflict) {
			return err
		}
	}
	bucket, err := s.Client.Stream("KV_" + s.Bucket)
	if err != nil {
		return err
	}
	if size := bucket.State.Bytes; size > maxBytes {
		return fmt.Errorf("bucket %s of the leases has %d bytes, and must not grow beyond %d: %w: remove dead letters that are done with (millrace dlq purge)", s.Bucket, size, maxBytes, ErrFull)
	}
	return nil
}

// Mark marks dead letters as published again at a time. To mark one twice is no error.
func (s Stream) Mark(ctx context.Context, at time.Time, sequences []uint64) error {
	for n, of := range byBlock(sequences) {
		if err := s.mark(ctx, at, n, of); err != nil {
			return err
		}
	}
	return nil
}

func (s Stream) mark(ctx context.Context, at time.Time, n uint64, sequences []uint64) error {
	for {
		m, key, revision, err := s.read(ctx, n)
		if err != nil {
			return err
		}
		m.add(at, sequences)
		data, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if _, err = s.Client.Put(ctx, s.Bucket, key, data, revision); !errors.Is(err, jetstream.ErrConflict) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (m *marks) add(at time.Time, sequences []uint64) {
	i := slices.IndexFunc(m.Times, func(t times) bool { return t.At.Equal(at) })
	if i < 0 {
		m.Times = append(m.Times, times{At: at, Bits: make([]byte, block/8)})
		i = len(m.Times) - 1
	}
	for _, seq := range sequences {
		k := seq % block
		m.Times[i].Bits[k/8] |= 1 << (k % 8)
	}
	if len(m.Times) > maxTimes {
		oldest, next := &m.Times[0], &m.Times[1]
		for k := range oldest.Bits {
			next.Bits[k] |= oldest.Bits[k]
		}
		m.Times = m.Times[1:]
	}
}

func byBlock(sequences []uint64) map[uint64][]uint64 {
	all := map[uint64][]uint64{}
	for _, seq := range sequences {
		all[seq/block] = append(all[seq/block], seq)
	}
	return all
}
