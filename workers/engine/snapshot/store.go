package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/stored"
)

const (
	// saveTimeout bounds the storing of one snapshot, which an ending lane waits for.
	saveTimeout = 10 * time.Second
	// requestTimeout bounds one question to the server.
	requestTimeout = 2 * time.Second
	// The size of a snapshot is bounded: as it is stored, and as it is in memory. So is that of one piece.
	maxSize  = 64 << 20
	maxRaw   = 512 << 20
	maxPiece = 512 << 10
)

// Manifest describes a snapshot.
type Manifest struct {
	// Owner is the worker that has made it.
	Owner string `json:"owner"`
	// Config is a digest of the configs that its stages decided by, live members too.
	Config string  `json:"config"`
	Inputs []Input `json:"inputs"`
	// Tick is the stream time up to which the stages were flushed, in Unix milliseconds.
	Tick int64 `json:"tick"`
	// Generation tells apart the pieces of this one and of the one before, which stand until the manifest is stored.
	Generation int `json:"generation"`
	Pieces     int `json:"pieces"`
	Size       int `json:"size"` // of all pieces
	Raw        int `json:"raw"`  // decompressed
	// Sum is the digest of all pieces.
	Sum string `json:"sum"`
}

// Input is how far a snapshot reaches into an input.
type Input struct {
	Place progress.Place `json:"place"`
	// Seq is the sequence up to which it knows all, Last that of the last message of the lane.
	Seq  uint64 `json:"seq"`
	Last uint64 `json:"last"`
}

// Options are what a Store is made of.
type Options struct {
	JS     jetstream.JetStream
	Stored *stored.Client
	Domain config.Domain
	// Bucket is the name of the bucket, Key the key of the manifest.
	Bucket, Key string
	// MaxPayload is how many bytes a message may have.
	MaxPayload func() int64
	// Owns asks whether the lane is still this worker's.
	Owns func(context.Context) (bool, error)
}

// Store stores the snapshots of one lane. One goroutine uses it at a time.
type Store struct {
	Options
	current Manifest // the one that is stored
	fence   uint64   // its sequence
	known   bool     // whether these are known
}

// New makes a store that knows nothing yet.
func New(o Options) *Store { return &Store{Options: o} }

func (s *Store) stream() string { return "KV_" + s.Bucket }

// piece is the key of a piece.
func (s *Store) piece(generation, n int) string {
	return s.Key + "." + strconv.Itoa(generation) + "." + strconv.Itoa(n)
}

// Look reads the manifest that is stored; nil when there is none.
func (s *Store) Look(ctx context.Context) (*Manifest, error) {
	m, err := s.last(ctx, s.Key)
	if err != nil {
		return nil, err
	}
	s.current, s.fence, s.known = Manifest{}, m.Sequence, true
	if m.Sequence == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(m.Data, &s.current); err != nil {
		s.current = Manifest{}
		return nil, fmt.Errorf("the manifest of the snapshot: %w", err)
	}
	found := s.current
	return &found, nil
}

func (s *Store) last(ctx context.Context, key string) (stored.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.Stored.Last(ctx, s.stream(), config.KeySubject(s.Bucket, key))
}

// Read reads the state that a manifest describes.
func (s *Store) Read(ctx context.Context, m *Manifest) ([]byte, error) {
	if m.Size < 0 || m.Size > maxSize || m.Raw < 0 || m.Raw > maxRaw || m.Pieces < 0 || m.Pieces > maxSize {
		return nil, errors.New("its size is not possible")
	}
	packed := make([]byte, 0, m.Size)
	for i := range m.Pieces {
		piece, err := s.last(ctx, s.piece(m.Generation, i))
		if err != nil {
			return nil, err
		}
		if packed = append(packed, piece.Data...); len(piece.Data) == 0 || len(packed) > m.Size {
			break
		}
	}
	if sum(packed) != m.Sum {
		return nil, errors.New("its pieces are others than the manifest says")
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRaw))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(packed, make([]byte, 0, m.Raw))
}

func sum(b []byte) string {
	digest := sha256.Sum256(b)
	return hex.EncodeToString(digest[:])
}

// errFenced says that the manifest is another one than this lane knows: it has expired, or somebody else has written.
var errFenced = errors.New("another manifest is stored")

// ErrNotOwned says that the lane is not known to be this worker's.
var ErrNotOwned = errors.New("the lane is not known to be this worker's")

// Save stores a state with its manifest, whose last members it fills in, and returns how many bytes that takes.
func (s *Store) Save(ctx context.Context, m Manifest, state []byte) (size int, err error) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	packed, err := pack(state)
	if err != nil {
		return 0, err
	}
	m.Size, m.Raw, m.Sum = len(packed), len(state), sum(packed)
	err = s.save(ctx, m, packed)
	if errors.Is(err, errFenced) {
		s.known = false
		err = s.save(ctx, m, packed)
	}
	if err != nil {
		s.known = false
	}
	return m.Size, err
}

func pack(state []byte) ([]byte, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	packed := encoder.EncodeAll(state, nil)
	_ = encoder.Close()
	if len(packed) > maxSize || len(state) > maxRaw {
		return nil, fmt.Errorf("it has %d bytes, at most %d", len(packed), maxSize)
	}
	return packed, nil
}

func (s *Store) save(ctx context.Context, m Manifest, packed []byte) error {
	if !s.known {
		if _, err := s.Look(ctx); err != nil {
			return err
		}
		if owns, err := s.Owns(ctx); err != nil || !owns {
			return errors.Join(ErrNotOwned, err)
		}
	}
	m.Generation, m.Pieces = 1-min(max(s.current.Generation, 0), 1), 0
	for piece := range slices.Chunk(packed, min(maxPiece, int(s.MaxPayload())/2)) {
		if _, err := s.put(ctx, s.piece(m.Generation, m.Pieces), piece); err != nil {
			return err
		}
		m.Pieces++
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return err
	}
	seq, err := s.put(ctx, s.Key, manifest)
	if err != nil {
		return err
	}
	s.fence, s.current = seq, m
	return nil
}

// put stores a value, if the manifest is still the one that this worker knows.
func (s *Store) put(ctx context.Context, key string, value []byte) (seq uint64, err error) {
	m := nats.NewMsg(s.Domain.Put(s.Bucket, key))
	m.Data = value
	m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(s.fence, 10)}
	if key != s.Key {
		m.Header[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{config.KeySubject(s.Bucket, s.Key)}
	}
	ack, err := s.JS.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if refused := (*jetstream.APIError)(nil); errors.As(err, &refused) {
		if stored.IsFenced(int(refused.ErrorCode)) {
			return 0, errFenced
		}
		return 0, fmt.Errorf("store in stream %s: %s", s.stream(), refused.Description)
	}
	if err != nil {
		return 0, fmt.Errorf("store in stream %s: %w: is %s allowed for this user?", s.stream(), err, m.Subject)
	}
	return ack.Sequence, nil
}
