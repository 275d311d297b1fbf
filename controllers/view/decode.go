package view

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
)

// maxText bounds Stored.Text, in bytes.
const maxText = 512

// decoder reads the messages of ports. One goroutine uses it.
type decoder struct {
	stages, others *decode.Decoder // what stages wrote, and what anybody may have
}

func newDecoder() *decoder {
	return &decoder{stages: decode.New(decode.Limits{Hints: true}), others: decode.New(decode.Limits{})}
}

// found is one event of a message, or what is none. It lasts until the next message is read.
type found struct {
	index int
	event *event.Event // nil = it cannot be read
	raw   []byte
	err   error
}

// read yields what a message of a port holds, in its order.
func (d *decoder) read(p *PortLayout, m *store.Message, yield func(found) error) error {
	with := d.others
	if p.Format == config.FormatFrame {
		with = d.stages
	}
	with.Reset()
	events, bad := with.Decode(nil, decode.Message{Header: m.Header, Data: m.Data, Sequence: m.Sequence})
	for i := 0; i < len(events) || len(bad) > 0; {
		f := found{}
		if len(bad) > 0 && (i == len(events) || bad[0].Index < events[i].Origin.Index) {
			f.index, f.raw, f.err = bad[0].Index, bad[0].Raw, bad[0].Err
			bad = bad[1:]
		} else {
			f.index, f.event = events[i].Origin.Index, &events[i]
			i++
		}
		if err := yield(f); err != nil {
			return err
		}
	}
	return nil
}

// place is where an event of a message stands.
func (p *PortLayout) place(m *store.Message, index int) Place {
	return Place{Stream: p.Stream, Subject: m.Subject, Sequence: m.Sequence, Index: index, Partition: p.partition(m.Subject), Stored: m.Stored}
}

// partition is that of a subject: the token behind the base; 0 where there are none.
func (p *PortLayout) partition(subject string) int {
	if p.Partitions == 0 {
		return 0
	}
	token, _, _ := strings.Cut(strings.TrimPrefix(subject, p.Base+"."), ".")
	n, err := strconv.Atoi(token)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// stored is an event as readers see it. It owns its memory.
func (p *PortLayout) stored(m *store.Message, f found) Stored {
	s := Stored{Place: p.place(m, f.index), Port: p.String()}
	if p.Format == config.FormatRaw {
		s.Error = deathOf(m)
	}
	if f.event == nil {
		s.Raw = append([]byte(nil), f.raw...)
		if s.Error == "" {
			s.Error = f.err.Error()
		}
		return s
	}
	text, err := cloudevent.Append(nil, f.event)
	if err != nil || !json.Valid(text) {
		s.Raw, s.Error = append([]byte(nil), f.event.Received()...), "the event cannot be written as JSON"
		if err != nil {
			s.Error = err.Error()
		}
		return s
	}
	e := f.event
	s.Event = text
	s.ID, s.Source, s.Type = strings.Clone(e.ID), strings.Clone(e.Source), strings.Clone(e.Type)
	s.Text = Cut(textOf(e), maxText)
	if e.Time != 0 {
		s.Time = time.Unix(0, e.Time).UTC()
	}
	s.Entity = entity(e.Entity.Kind, e.Entity.Namespace, e.Entity.Name)
	return s
}

// textOf is an event in one line: its body, or the value of its metric.
func textOf(e *event.Event) string {
	if m, ok := e.Metric(); ok && e.Body == "" {
		return m.Name + ": " + event.Quantity(m.Value, m.Unit)
	}
	return e.Body
}

// deathOf says why a dead letter died, in one line.
func deathOf(m *store.Message) string {
	reason, why := m.Get(jetstream.HeaderReason), m.Get(jetstream.HeaderError)
	if why == "" {
		return reason
	}
	return reason + ": " + why
}

// entity is kind/namespace/name, without what there is not.
func entity(parts ...string) string {
	var have []string
	for _, p := range parts {
		if p != "" {
			have = append(have, p)
		}
	}
	return strings.Join(have, "/")
}

// Cut copies a text, of limit bytes at most.
func Cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return strings.Clone(s)
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
