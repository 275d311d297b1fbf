package replay

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// Message is one input message.
type Message struct {
	// Stored is the stream time.
	Stored time.Time
	// Partition is stage.Batch.Partition.
	Partition int
	// Data is what an input accepts, a frame or lines of JSON, with the headers of a message.
	Header map[string][]string
	Data   []byte
	// Input is which input the message came on. Newest bounds its events in the time of the ingress, and Until is the watermark of the input behind it
	// (stage.Watermarked).
	Input         int
	Newest, Until time.Time
}

// Step is what a stage did with one message, and at the flushes since the one before.
type Step struct {
	// Text says it for a person, one line each; Sum is over every byte that leaves the stage.
	Text []string
	Sum  [sha256.Size]byte
	// Produced are the events that the stage made.
	Produced []stage.Produced
}

// Instance is one instance of a stage and where it is in its input.
type Instance struct {
	Stage stage.Stage
	// Poison has the memory of each message overwritten after the call that saw it.
	Poison  bool
	decoder *decode.Decoder
	next    int64 // Unix second of the next flush
	seen    uint64
	marked  bool // only marked events are decoded, as in a takeover
	t       testing.TB
}

// New starts s.
func New(t testing.TB, s stage.Stage) *Instance {
	t.Helper()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &Instance{Stage: s, decoder: decode.New(decode.Limits{}), t: t}
}

// Rebuild starts s and replays what the stage needs of the messages before the one at
// index at. before is what an earlier instance made of these messages.
func Rebuild(t testing.TB, s stage.Stage, messages []Message, at int, before []Step) *Instance {
	t.Helper()
	in := New(t, s)
	r, ok := s.(stage.Rebuilder)
	if !ok {
		t.Fatalf("%T is no stage.Rebuilder", s)
	}
	from := at
	for from > 0 && messages[max(at-1, 0)].Stored.Sub(messages[from-1].Stored) <= r.Horizon() { // of what is acknowledged last
		from--
	}
	selective, ok := s.(stage.Selective)
	in.marked = ok && selective.OnlyMarked()
	in.Run(messages[from:at])
	in.marked = false
	in.recall(messages, at, before)
	return in
}

// Recall starts s before the message at index at without a replay, as where the input has expired.
func Recall(t testing.TB, s stage.Stage, messages []Message, at int, before []Step) *Instance {
	t.Helper()
	in := New(t, s)
	in.recall(messages, at, before)
	return in
}

func (in *Instance) recall(messages []Message, at int, before []Step) {
	if r, ok := in.Stage.(stage.Recaller); ok {
		r.Recall(told(in.t, before[:min(at, len(before))]), time.Unix(messages[max(at-1, 0)].Stored.Unix(), 0))
	}
}

// told are the last revisions of all insights.
func told(t testing.TB, steps []Step) (told []*eventv1.Event) {
	t.Helper()
	decoder := decode.New(decode.Limits{})
	for _, s := range steps {
		for _, p := range s.Produced {
			if p.Port != stage.Insights {
				continue
			}
			decoder.Reset()
			events, bad := decoder.Decode(nil, decode.Message{Data: cloudevent.AppendProto(nil, p.Event)}) // as people are told, and as the engine reads it back
			if len(bad) > 0 {
				t.Fatal(bad[0].Err)
			}
			e, err := events[0].ToProto()
			if err != nil {
				t.Fatal(err)
			}
			if i := slices.IndexFunc(told, func(o *eventv1.Event) bool { return o.GetId() == e.GetId() }); i >= 0 {
				told[i] = e
			} else {
				told = append(told, e)
			}
		}
	}
	return told
}

// Run takes messages, in order.
func (in *Instance) Run(messages []Message) []Step {
	in.t.Helper()
	steps := make([]Step, len(messages))
	for i, m := range messages {
		w := writer{t: in.t}
		in.flush(m.Stored, &w)
		in.process(m, &w)
		steps[i] = w.step()
	}
	return steps
}

// RunReloading is Run with a Reload of the config that the stage has before every n messages.
func (in *Instance) RunReloading(messages []Message, n int, c *config.StageConfig) (steps []Step) {
	in.t.Helper()
	for part := range slices.Chunk(messages, n) {
		r, ok := in.Stage.(stage.Reloader)
		if !ok {
			in.t.Fatalf("%T is no stage.Reloader", in.Stage)
		}
		var err error
		if in.Stage, err = r.Reload(c); err != nil {
			in.t.Fatal(err)
		}
		steps = append(steps, in.Run(part)...)
	}
	return steps
}

// Move has a new instance go on, with a snapshot of the one that was at work.
func (in *Instance) Move(to stage.Stage) {
	in.t.Helper()
	b := in.Snapshot()
	if err := to.Start(in.t.Context()); err != nil {
		in.t.Fatal(err)
	}
	next, ok := to.(stage.Snapshotter)
	if !ok {
		in.t.Fatalf("%T is no stage.Snapshotter", to)
	}
	lent := bytes.Clone(b)
	if err := next.Restore(lent); err != nil {
		in.t.Fatalf("restore a snapshot: %v", err)
	}
	for i := range lent {
		lent[i] = 0xdb
	}
	in.Stage = to
	if again := in.Snapshot(); !bytes.Equal(b, again) {
		in.t.Fatalf("a snapshot of what was restored has %d bytes and differs from the one that it was restored from (%d bytes)", len(again), len(b))
	}
}

// Snapshot is the state of the stage.
func (in *Instance) Snapshot() []byte {
	in.t.Helper()
	s, ok := in.Stage.(stage.Snapshotter)
	if !ok {
		in.t.Fatalf("%T is no stage.Snapshotter", in.Stage)
	}
	const before = "what stands before"
	b, err := s.Snapshot([]byte(before))
	if err != nil {
		in.t.Fatalf("snapshot: %v", err)
	}
	if !bytes.HasPrefix(b, []byte(before)) {
		in.t.Fatal("a snapshot overwrites what stands before it")
	}
	return b[len(before):]
}

// flush lets every whole second pass that lies before a message.
func (in *Instance) flush(until time.Time, w *writer) {
	f, ok := in.Stage.(stage.Flusher)
	if !ok {
		return
	}
	if in.next == 0 {
		in.next = until.Unix() + 1
	}
	for ; in.next <= until.Unix(); in.next++ {
		b := &stage.Batch{Now: time.Unix(in.next, 0)}
		b.Reset(1)
		if err := f.Flush(in.t.Context(), b.Now, false, b); err != nil {
			in.t.Fatal(err)
		}
		w.produced(b)
	}
}

func (in *Instance) process(m Message, w *writer) {
	in.seen++
	in.decoder.Reset()
	b := &stage.Batch{Now: m.Stored, Partition: m.Partition, Newest: m.Newest}
	data := m.Data
	if in.Poison {
		data = bytes.Clone(data)
	}
	b.Events, _ = in.decoder.Decode(nil, decode.Message{Header: m.Header, Data: data, Input: m.Input, Sequence: in.seen, Time: m.Stored.UnixNano()})
	if in.marked {
		if b.Events = slices.DeleteFunc(b.Events, func(e event.Event) bool { return !e.Marked() }); len(b.Events) == 0 {
			return
		}
	}
	b.Reset(1)
	if err := in.Stage.Process(in.t.Context(), b); err != nil {
		in.t.Fatal(err)
	}
	for i := range b.Events {
		d := b.Decision(i)
		w.line(b.Events[i].ID, d.Verdict.String(), d.Ports.String(), d.Reason, fmt.Sprint(d.Err))
		if d.Verdict == stage.Emit {
			w.bytes = b.Events[i].AppendProto(w.bytes)
		}
	}
	w.produced(b)
	if told, ok := in.Stage.(stage.Watermarked); ok {
		b := &stage.Batch{Now: m.Stored, Partition: m.Partition}
		b.Reset(1)
		if _, err := told.Watermark(in.t.Context(), m.Input, m.Until, b); err != nil {
			in.t.Fatal(err)
		}
		w.produced(b)
	}
	if in.Poison {
		for i := range data {
			data[i] = 0xdb
		}
		in.decoder.Reset()
		in.decoder.Decode(nil, decode.Message{Header: m.Header, Data: garbage})
	}
}

// garbage takes the place of what was decoded.
var garbage = []byte(`{"id":"` + strings.Repeat("garbage ", 1000) + `","attributes":{"a":"` + strings.Repeat("garbage ", 1000) + `"}}`)

// writer collects what leaves the stage.
type writer struct {
	t     testing.TB
	text  []string
	bytes []byte
	made  []stage.Produced
}

func (w *writer) line(words ...string) {
	w.text = append(w.text, strings.Join(words, " "))
	w.bytes = append(w.bytes, w.text[len(w.text)-1]...)
}

func (w *writer) produced(b *stage.Batch) {
	for _, p := range b.Produced() {
		e, err := p.Message()
		if err != nil {
			w.t.Fatal(err)
		}
		p.Event = e
		w.made = append(w.made, p)
		w.line(p.Port.String(), e.GetType(), e.GetId(), e.GetInsight().GetStatus(), e.GetBody())
		if w.bytes, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(w.bytes, e); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *writer) step() Step {
	return Step{Text: w.text, Sum: sha256.Sum256(w.bytes), Produced: w.made}
}

// Diff says where got is another output than want first; empty = nowhere. Both are those of
// the messages from index at.
func Diff(want, got []Step, at int) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d steps, want %d", len(got), len(want))
	}
	differ, first := 0, -1
	for i := range want {
		if want[i].Sum != got[i].Sum {
			if differ++; first < 0 {
				first = i
			}
		}
	}
	if first < 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d steps differ, first that of message %d:\nwant\n%s\ngot\n%s", differ, len(want), at+first,
		strings.Join(want[first].Text, "\n"), strings.Join(got[first].Text, "\n"))
}
