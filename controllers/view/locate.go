package view

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// An id is looked for in a stream by looking into its messages, some windows at the same time. Bodies are searched for the bytes of the
// id; frames are decompressed for that, and nothing is decoded before its id is there.
const (
	// windows is how many requests are under way.
	windows = 4
	// windowBytes is about what one of them asks for.
	windowBytes = 4 << 20
	// smallStream is how large a stream may be, in bytes, so that all of it is looked through for a second event with the id.
	smallStream = 256 << 20
	// manyMessages is with how many messages, of less than smallMessage bytes each, a stream is looked through last: it takes the
	// server longer to give one message than the reader to look through a hundred events.
	manyMessages = 200_000
	smallMessage = 4 << 10
	// maxFrame is the size of a frame after decompression at most, as for workers (decode.Limits).
	maxFrame = 16 << 20
	// An event whose id holds a time may be stored from early before it, where clocks differ, until late after it. It is looked for from soon
	// before it on first.
	soon  = 100 * time.Millisecond
	early = time.Minute
	late  = 10 * time.Minute
)

// locate finds events with the id: in the ingress, or where many small messages make that slow, first in what the first stages made of them
// and in the dead letters; and then in all other streams.
func (t *tracer) locate(ctx context.Context) ([]*at, error) {
	patience := time.Duration(t.options.Patience)
	if patience <= 0 {
		patience = DefaultPatience
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if at, ok := timeIn(t.options.ID); ok && t.options.Since.IsZero() && t.options.Until.IsZero() {
		for _, between := range [][2]time.Time{{at.Add(-soon), at.Add(late)}, {at.Add(-early), at.Add(-soon)}} {
			found, _, err := t.scan(limited, t.layout.Ingress.Stream, between[0], between[1], true)
			if err != nil || len(found) > 0 {
				return found, t.overdue(ctx, err)
			}
		}
	}
	for _, streams := range t.order() {
		var all []*at
		for _, name := range streams {
			found, from, err := t.scan(limited, name, t.options.Since, t.options.Until, false)
			all = append(all, found...)
			if from.After(t.trace.From) {
				t.trace.From = from
			}
			if err != nil {
				return all, t.overdue(ctx, err)
			}
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	return nil, nil
}

// overdue makes no error of patience that is over.
func (t *tracer) overdue(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		t.cut = true
		return nil
	}
	return err
}

// looked says where the id was looked for, as the end of a sentence.
func (t *tracer) looked() string {
	switch {
	case t.cut && t.trace.From.IsZero():
		return "the time was over before all was looked through; look for longer, or say when it was stored"
	case t.trace.From.IsZero():
		return "no stream of the pipeline holds it; it may have expired"
	}
	return fmt.Sprintf("what was stored since %s does not hold it; look for longer, or say when it was stored", t.trace.From.Format(time.RFC3339))
}

// order groups streams: those of a group are looked through together, and the next group when the id was in none of them.
func (t *tracer) order() [][]string {
	ingress := []string{t.layout.Ingress.Stream}
	var first, rest []string
	for i := range t.layout.Ports {
		p := &t.layout.Ports[i]
		s, err := t.layout.Stage(p.Stage)
		if err != nil || p.Stream == "" {
			continue
		}
		if s.Head != "" {
			s, _ = t.layout.Stage(s.Head)
		}
		if p.Format == config.FormatRaw || p.Format == config.FormatFrame && s != nil && reads(s, PortIngress) {
			first = append(first, p.Stream)
		} else {
			rest = append(rest, p.Stream)
		}
	}
	first, rest = distinct(first), distinct(rest)
	state, err := store.Stream{Client: t.client, Name: t.layout.Ingress.Stream}.State()
	if err == nil && state.Messages > manyMessages && state.Bytes/state.Messages < smallMessage && len(first) > 0 {
		return [][]string{first, ingress, rest}
	}
	return [][]string{ingress, first, rest}
}

func reads(s *StageLayout, from string) bool {
	for i := range s.Inputs {
		if s.Inputs[i].From == from {
			return true
		}
	}
	return false
}

func distinct(names []string) (all []string) {
	seen := map[string]bool{}
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	return all
}

// scan looks through a stream, between two times: oldest first or newest first. from is the time down to which it came; zero = it came to the end.
func (t *tracer) scan(ctx context.Context, stream string, since, until time.Time, oldest bool) (all []*at, from time.Time, err error) {
	s := store.Stream{Client: t.client, Name: stream}
	state, err := s.State()
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil, from, nil
	}
	if err != nil || state.Messages == 0 {
		return nil, from, err
	}
	low, high, err := between(ctx, s, state, since, until)
	if err != nil || low > high {
		return nil, from, err
	}
	size := windowOf(state)
	if oldest { // it is most likely in the first window
		size = max(size/8, 2)
	}
	if !oldest && state.Bytes > smallStream {
		all, err = t.ordered(ctx, s, low, high, size)
		if err != nil || len(all) > 0 {
			return all, state.LastTime, err
		}
	}
	w := &search{tracer: t, stream: s, needle: newNeedle(t.options.ID), low: low, high: high, size: size, oldest: oldest, all: state.Bytes <= smallStream}
	all, err = w.run(ctx)
	t.trace.Read += w.read
	switch {
	case !w.complete():
		from = w.reached
	case w.all && since.IsZero() && until.IsZero() && err == nil:
		t.whole[stream] = true
	}
	return all, from, err
}

// windowOf is how many stream sequences a window has.
func windowOf(state store.State) uint64 {
	return min(max(windowBytes/max(state.Bytes/state.Messages, 1), 16), 1<<14)
}

// duplicate says whether a stage drops an event since one with its id and source came before. It looks for that one in the input of the stage, as far back as the
// stage remembers, but not in more than smallStream.
func (t *tracer) duplicate(ctx context.Context, s *StageLayout, in *InputLayout, a *at) (bool, error) {
	if s.Dedupe == 0 || slices.Contains(t.emitted, a.Source+"\x00"+s.Name) {
		return s.Dedupe > 0, nil
	}
	stream := store.Stream{Client: t.client, Name: in.Stream}
	state, err := stream.State()
	if err != nil || state.Messages == 0 || t.whole[in.Stream] {
		return false, err
	}
	low, _, err := between(ctx, stream, state, a.Place.Stored.Add(-s.Dedupe-skew), time.Time{})
	if err != nil || low >= a.Sequence {
		return false, err
	}
	reach := smallStream / max(state.Bytes/state.Messages, 1)
	w := &search{
		tracer: t, stream: stream, needle: newNeedle(a.ID), source: a.Source, size: windowOf(state),
		low: max(low, a.Sequence-min(a.Sequence, reach)), high: a.Sequence - 1,
	}
	found, err := w.run(ctx)
	t.trace.Read += w.read
	return len(found) > 0, err
}

// between is the range of stream sequences that was stored between two times.
func between(ctx context.Context, s store.Stream, state store.State, since, until time.Time) (low, high uint64, err error) {
	low, high = state.First, state.Last
	if !since.IsZero() {
		m, err := s.Since(ctx, "", since)
		if err != nil {
			return 0, 0, err
		}
		if low = state.Last + 1; m != nil {
			low = m.Sequence
		}
	}
	if !until.IsZero() {
		m, err := s.Since(ctx, "", until)
		if err != nil {
			return 0, 0, err
		}
		if m != nil {
			high = m.Sequence
		}
	}
	return low, high, nil
}

// portOf is the port that stores a subject of a stream; nil = none.
func (t *tracer) portOf(stream, subject string) *PortLayout {
	if stream == t.layout.Ingress.Stream {
		return &t.layout.Ingress
	}
	for i := range t.layout.Ports {
		if p := &t.layout.Ports[i]; p.Stream == stream && matches(p.Subject, subject) {
			return p
		}
	}
	return nil
}

// matches says whether a subject is one of a pattern whose wildcards are single tokens.
func matches(pattern, subject string) bool {
	a, b := strings.Split(pattern, "."), strings.Split(subject, ".")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != "*" && a[i] != b[i] {
			return false
		}
	}
	return true
}

// search is one look through a stream.
type search struct {
	*tracer // of which it changes nothing

	stream    store.Stream
	needle    *needle // the id
	source    string  // of the events; empty = any
	low, high uint64  // what is left
	size      uint64  // of a window, in stream sequences
	oldest    bool
	all       bool // look on when it is found

	mu      sync.Mutex
	found   []*at
	read    int
	reached time.Time
	err     error
}

func (w *search) complete() bool { return w.low > w.high }

// next takes a window; ok is false when there is none, or no more is to be looked through.
func (w *search) next() (from, to uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.low > w.high || w.err != nil || len(w.found) > 0 && !w.all {
		return 0, 0, false
	}
	n := min(w.size, w.high-w.low+1)
	if w.oldest {
		from, to = w.low, w.low+n-1
		w.low += n
		return from, to, true
	}
	from, to = w.high-n+1, w.high
	w.high -= n
	return from, to, true
}

func (w *search) run(ctx context.Context) ([]*at, error) {
	var group sync.WaitGroup
	for range windows {
		group.Go(func() {
			r := &searcher{search: w, decoder: newDecoder()}
			for {
				from, to, ok := w.next()
				if !ok {
					return
				}
				if err := r.window(ctx, from, to); err != nil {
					w.mu.Lock()
					w.err = err
					w.mu.Unlock()
					return
				}
			}
		})
	}
	group.Wait()
	return w.found, w.err
}

// searcher is a goroutine at work on a search.
type searcher struct {
	*search

	decoder *decoder
	buffer  []byte
}

func (w *searcher) window(ctx context.Context, from, to uint64) error {
	read := 0
	var found []*at
	var began time.Time
	err := w.stream.Scan(ctx, store.Range{From: from, To: to, Batch: int(to - from + 1), Bytes: 2 * windowBytes}, func(m *store.Message) error {
		read++
		if began.IsZero() {
			began = m.Stored
		}
		if w.mayHold(m) {
			found = append(found, w.events(m)...)
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read += read
	w.found = append(w.found, found...)
	if err == nil && !began.IsZero() && (w.reached.IsZero() || began.Before(w.reached)) {
		w.reached = began
	}
	return err
}

// events are those of a message that have the id.
func (w *searcher) events(m *store.Message) (all []*at) {
	port := w.portOf(w.stream.Name, m.Subject)
	if port == nil {
		return nil
	}
	_ = w.decoder.read(port, m, func(f found) error {
		if f.event != nil && f.event.ID == w.options.ID && (w.source == "" || f.event.Source == w.source) {
			all = append(all, w.atOf(port, m, f))
		}
		return nil
	})
	return all
}

// mayHold says whether a message may hold an event with the id: to read it takes longer.
func (w *searcher) mayHold(m *store.Message) bool {
	if strings.EqualFold(event.MediaType(m.Get(event.HeaderContentType)), event.ContentTypeFrame) {
		return w.inFrame(m.Data) // what is compressed tells nothing
	}
	return w.needle.in(m.Data) || w.inHeader(m.Header) || w.escaped(m.Data) || w.inFrame(m.Data)
}

// inHeader says whether the attribute id of a binary CloudEvent may be the id.
func (w *searcher) inHeader(header map[string][]string) bool {
	for name, values := range header {
		if strings.EqualFold(name, "ce-id") && len(values) > 0 && (values[0] == w.options.ID || strings.Contains(values[0], "%")) {
			return true
		}
	}
	return false
}

// escaped says whether the id may be written in another way in JSON: any character as \u and four digits, and some behind a backslash.
func (w *searcher) escaped(text []byte) bool {
	return bytes.IndexByte(text, '\\') >= 0 && (strings.ContainsAny(w.options.ID, "\"\\/\b\f\n\r\t") || bytes.Contains(text, []byte(`\u`)))
}

// inFrame says whether it is a frame that holds the text of the id.
func (w *searcher) inFrame(block []byte) bool {
	n, err := s2.DecodedLen(block)
	if err != nil || n > maxFrame {
		return false
	}
	if cap(w.buffer) < n {
		w.buffer = make([]byte, n+n/4)
	}
	text, err := s2.Decode(w.buffer[:cap(w.buffer)], block)
	return err == nil && w.needle.in(text)
}

// timeIn reads the time that an id holds: of a UUID of version 7 (RFC 9562), or of a ULID.
func timeIn(id string) (time.Time, bool) {
	digits, base := strings.ReplaceAll(id, "-", ""), "0123456789abcdef"
	bits := uint(4)
	switch {
	case len(id) == 36 && len(digits) == 32 && digits[12] == '7':
		digits = strings.ToLower(digits[:12])
	case len(id) == 26:
		digits, base, bits = strings.ToUpper(id[:10]), "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 5
		if digits[0] > '7' {
			return time.Time{}, false
		}
	default:
		return time.Time{}, false
	}
	var ms uint64
	for _, c := range []byte(digits) {
		n := strings.IndexByte(base, c)
		if n < 0 {
			return time.Time{}, false
		}
		ms = ms<<bits | uint64(n)
	}
	at := time.UnixMilli(int64(ms)).UTC()
	return at, at.Year() >= 2000 && at.Year() < 2200
}
