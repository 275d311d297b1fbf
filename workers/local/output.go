package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
)

// outputWriter writes what a port carries to a file, while the run goes on: one structured
// CloudEvent a line.
type outputWriter struct {
	place   place
	js      jetstream.JetStream
	file    *os.File
	buf     *bufio.Writer
	raw     bool // dead letters: what they carry may be no event
	decoder *decode.Decoder
	events  []event.Event
	line    []byte

	messages jetstream.MessagesContext
	seen     atomic.Uint64 // stream sequence of the last message that is written
	done     chan error
}

func newOutputWriter(ctx context.Context, js jetstream.JetStream, pl place, after uint64, raw bool, path string) (*outputWriter, error) {
	cons, err := js.OrderedConsumer(ctx, pl.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{pl.filter}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", pl.stream, err)
	}
	messages, err := cons.Messages(jetstream.PullMaxBytes(32 << 20))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", pl.stream, err)
	}
	f, err := os.Create(path)
	if err != nil {
		messages.Stop()
		return nil, fmt.Errorf("--output: %w", err)
	}
	w := &outputWriter{
		place: pl, js: js, file: f, buf: bufio.NewWriterSize(f, 1<<20), raw: raw,
		decoder: decode.New(decode.Limits{Hints: true}), messages: messages, done: make(chan error, 1),
	}
	go func() { w.done <- w.run() }()
	return w, nil
}

func (w *outputWriter) run() error {
	for {
		m, err := w.messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", w.place.stream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", w.place.stream, err)
		}
		if w.raw {
			err = w.deadLetter(m)
		} else {
			err = w.write(m)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", w.file.Name(), err)
		}
		w.seen.Store(meta.Sequence.Stream)
	}
}

func (w *outputWriter) write(m jetstream.Msg) error {
	var bad []decode.Undecodable
	w.events, bad = w.decoder.Decode(w.events[:0], decode.Message{Header: m.Headers(), Data: m.Data()})
	if len(bad) > 0 {
		return bad[0].Err
	}
	for i := range w.events {
		line, err := cloudevent.Append(w.line[:0], &w.events[i])
		if err != nil {
			return err
		}
		w.line = append(line, '\n') //nolint:gocritic // the same buffer, grown
		if _, err := w.buf.Write(w.line); err != nil {
			return err
		}
	}
	w.decoder.Reset()
	return nil
}

// DeadLetterType is the type of the CloudEvent that stands for a dead letter in an output.
const DeadLetterType = "millrace.dead_letter"

// deadLetter is what a dead letter looks like as a CloudEvent.
type deadLetter struct {
	SpecVersion string         `json:"specversion"`
	ID          string         `json:"id"`
	Source      string         `json:"source"`
	Type        string         `json:"type"`
	Time        string         `json:"time,omitempty"`
	Data        deadLetterData `json:"data"`
}

type deadLetterData struct {
	Reason   string `json:"reason"`
	Error    string `json:"error"`
	Stage    string `json:"stage"`
	Attempts int    `json:"attempts"`
	Stream   string `json:"stream"`
	Subject  string `json:"subject"`
	Sequence uint64 `json:"sequence"`
	// Index is the place of the event in its message, from 0.
	Index       int    `json:"index"`
	ContentType string `json:"contentType,omitempty"`
	// Original is what was received, when it is text; OriginalBase64 otherwise.
	Original       string `json:"original,omitempty"`
	OriginalBase64 []byte `json:"originalBase64,omitempty"`
}

func (w *outputWriter) deadLetter(m jetstream.Msg) error {
	line, err := deadLetterLine(m)
	if err != nil {
		return err
	}
	_, err = w.buf.Write(append(line, '\n'))
	return err
}

// deadLetterLine is a dead letter as a structured CloudEvent.
func deadLetterLine(m jetstream.Msg) ([]byte, error) {
	h := m.Headers()
	attempts, _ := strconv.Atoi(h.Get("Millrace-Attempts"))
	sequence, _ := strconv.ParseUint(h.Get("Millrace-Sequence"), 10, 64)
	index, _ := strconv.Atoi(h.Get("Millrace-Index"))
	d := deadLetter{
		SpecVersion: "1.0", ID: fmt.Sprintf("%s/%d/%d", h.Get("Millrace-Stream"), sequence, index), Source: "/stages/" + h.Get("Millrace-Stage"),
		Type: DeadLetterType, Time: h.Get("Millrace-Time"),
		Data: deadLetterData{
			Reason: h.Get("Millrace-Reason"), Error: h.Get("Millrace-Error"), Stage: h.Get("Millrace-Stage"), Attempts: attempts,
			Stream: h.Get("Millrace-Stream"), Subject: h.Get("Millrace-Subject"), Sequence: sequence, Index: index, ContentType: h.Get("Content-Type"),
		},
	}
	if utf8.Valid(m.Data()) {
		d.Data.Original = string(m.Data())
	} else {
		d.Data.OriginalBase64 = m.Data()
	}
	return json.Marshal(d)
}

// finish writes everything that is stored now and closes the file.
func (w *outputWriter) finish(ctx context.Context) error {
	target, err := lastSequence(ctx, w.js, w.place)
	if err != nil {
		return err
	}
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for w.seen.Load() < target {
		select {
		case err := <-w.done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	w.messages.Stop()
	if err := <-w.done; err != nil {
		return err
	}
	if err := w.buf.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", w.file.Name(), err)
	}
	return w.file.Close()
}

// close ends a writer that finish did not end.
func (w *outputWriter) close() {
	w.messages.Stop()
	_ = w.buf.Flush()
	_ = w.file.Close()
}
