package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// class is what is to become of a line.
type class uint8

const (
	valid   class = iota
	invalid       // lacks a required attribute
	garbage       // is not JSON
)

// line is one event, or what is sent in place of one.
type line struct {
	class class
	// key is the identity of a valid event: its id and source.
	key string
	raw []byte
}

// message is one message to publish. Its id is its Nats-Msg-Id.
type message struct {
	id    string
	lines []line
	msg   nats.Msg
}

// input is what one run publishes.
type input struct {
	messages []*message
	events   int // lines
}

// makeInput makes an input of about n events, the same for the same seed. Every third event
// comes in a frame of up to 200, the others in NDJSON of up to 40 lines or alone.
func makeInput(seed uint64, n int) (*input, error) {
	n = max(n, generator.MinEvents)
	story, err := generator.Generate(generator.Options{
		Seed: seed, Events: n, Invalid: n / 200, Undecodable: n / 400, Duplicates: n / 40, End: time.Now().Truncate(time.Second),
	})
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(seed, 1))
	lines := make([]line, len(story.Lines))
	for i, raw := range story.Lines {
		lines[i] = classify(raw)
	}
	in := &input{events: len(lines)}
	for len(lines) > 0 {
		m := &message{id: fmt.Sprintf("chaos-%d-%d", seed, len(in.messages))}
		switch k := r.IntN(20); {
		case k < 1 && decodable(lines[:min(200, len(lines))]) > 0:
			m.lines = lines[:min(decodable(lines[:min(200, len(lines))]), 20+r.IntN(180))]
			m.msg.Header = nats.Header{event.HeaderContentType: {event.ContentTypeFrame}, frame.HeaderEvents: {strconv.Itoa(len(m.lines))}}
			m.msg.Data, err = framed(m.lines)
		case k < 10:
			m.lines = lines[:min(2+r.IntN(39), len(lines))]
			m.msg.Header = nats.Header{event.HeaderContentType: {event.ContentTypeNDJSON}}
			m.msg.Data = joined(m.lines)
		default:
			m.lines = lines[:1]
			m.msg.Header = nats.Header{}
			m.msg.Data = m.lines[0].raw
		}
		if err != nil {
			return nil, err
		}
		m.msg.Subject = "events.raw.chaos." + strconv.Itoa(r.IntN(10))
		m.msg.Header[nats.MsgIdHdr] = []string{m.id}
		lines = lines[len(m.lines):]
		in.messages = append(in.messages, m)
	}
	return in, nil
}

// classify looks at a line without the codecs of the product.
func classify(raw []byte) line {
	var e struct{ ID, Source, Type string }
	switch err := json.Unmarshal(raw, &e); {
	case err != nil:
		return line{class: garbage, raw: raw}
	case e.ID == "" || e.Source == "" || e.Type == "":
		return line{class: invalid, raw: raw}
	}
	return line{class: valid, key: e.ID + " " + e.Source, raw: raw}
}

// decodable is how many lines from the first one on are events.
func decodable(lines []line) int {
	for i := range lines {
		if lines[i].class == garbage {
			return i
		}
	}
	return len(lines)
}

func joined(lines []line) []byte {
	all := make([][]byte, len(lines))
	for i := range lines {
		all[i] = lines[i].raw
	}
	return bytes.Join(all, []byte("\n"))
}

func framed(lines []line) ([]byte, error) {
	d := decode.New(decode.Limits{})
	events, bad := d.Decode(nil, decode.Message{
		Header: nats.Header{event.HeaderContentType: {event.ContentTypeNDJSON}}, Data: joined(lines),
	})
	if len(bad) > 0 || len(events) != len(lines) {
		return nil, fmt.Errorf("frame of %d lines: %d events, %d of them bad", len(lines), len(events), len(bad))
	}
	var w frame.Writer
	w.Begin(frame.Header{})
	for i := range events {
		w.Add(&events[i])
	}
	return w.AppendTo(nil), nil
}
