package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
)

// A track is one subject that one lane publishes on, alone. Every message on it says who wrote it
// and how far it reaches into the input, and is stored only when the one before it is the
// last one there (Nats-Expected-Last-Subject-Sequence). So a worker that takes a lane over
// reads the last message and knows what is stored, and who lost the lane without noticing
// is refused.
//
// The idea is that of Kafka Streams' exactly-once processing, offsets stored with the output,
// built from what a JetStream stream offers.
type track struct {
	node *node
	port *port
	// subject is where frames and dead letters go; insights go to one of several subjects.
	subject string
	// last is the subject, or the pattern of subjects, whose last message is the last one of the track.
	last string
	// fence is the stream sequence of the last message; 0 = there is none.
	fence uint64
	// packed is how far what was packed so far reaches into each input.
	packed  []progress.Position
	written time.Time // when the last message was stored
	number  int       // in lane.numbered
	inDoubt bool      // something of the step in doubt, namely what stands behind since
	since   uint64
	output  *progress.Output // what the last message said then; nil = nothing
	open    *queue           // of the step that is worked on
	noBatch bool             // the stream takes no atomic batches
}

// output is one message to be stored on a track.
type output struct {
	msg *nats.Msg
	// frame holds the events of a frame until it is encoded; nil when msg.Data is complete.
	frame  *event.FrameWriter
	buffer *[]byte // the pooled memory of msg.Data; nil = not pooled
	events int
	marks  string // of the frame: the value of event.HeaderMarked, empty = it has none
	items  progress.Items
	number uint64 // of the outputs of a session
	// reach is how far it reaches into each input.
	reach []progress.Position
	// produced is the part of events that are new, received the rest.
	produced int
	// trace is the message of the only event, whose trace context is carried.
	trace *message
}

// Headers that outputs carry for their own track.
const (
	headerOwner     = "Millrace-Owner"
	headerPosition  = "Millrace-Position"
	headerStep      = "Millrace-Step"
	headerBatchID   = "Nats-Batch-Id"
	headerBatchSeq  = "Nats-Batch-Sequence"
	headerBatchEnd  = "Nats-Batch-Commit"
	headerExpected  = "Nats-Expected-Last-Subject-Sequence"
	headerExpectedS = "Nats-Expected-Last-Subject-Sequence-Subject"
)

// tracksOf makes the tracks of one node in a lane, numbered port * partitions + partition
// for ports of frames, and one for each other port behind them.
func (l *lane) tracksOf(n *node) []*track {
	var all []*track
	inputs := len(l.e.cfg.Inputs)
	lane := strconv.Itoa(l.index)
	for i := range n.ports.all {
		p := &n.ports.all[i]
		if p.out.Format != config.FormatFrame {
			t := &track{node: n, port: p, subject: p.out.Subject + "." + lane, packed: make([]progress.Position, inputs)}
			t.last = t.subject
			if p.out.Format == config.FormatCloudEvent {
				t.last = p.out.Subject + "." + n.cfg.Stage + ".*." + lane
			}
			all = append(all, t)
			continue
		}
		for q := range n.cfg.Partitions {
			if l.e.cfg.Lanes > 1 && q != l.index {
				all = append(all, nil) // another lane's
				continue
			}
			all = append(all, &track{node: n, port: p, subject: p.subjects[q], last: p.subjects[q], packed: make([]progress.Position, inputs)})
		}
	}
	return all
}

// storedMessage is the last message of a track.
type storedMessage struct {
	seq    uint64
	header nats.Header
	time   time.Time
	data   []byte
}

// lastStored reads the last message on subject (which may have wildcards) from the leader of
// the stream: a direct get may be answered by a replica that is behind. seq is 0 when there
// is none.
func (e *Engine) lastStored(ctx context.Context, stream, subject string) (storedMessage, error) {
	return e.getMessage(ctx, stream, map[string]any{"last_by_subj": subject})
}

func (e *Engine) getMessage(ctx context.Context, stream string, request map[string]any) (storedMessage, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return storedMessage{}, err
	}
	api := e.domain.API("STREAM.MSG.GET." + stream)
	answer, err := e.conn.RequestWithContext(ctx, api, body)
	if err != nil {
		return storedMessage{}, fmt.Errorf("read the last message of stream %s: %w: does it exist, and is %s allowed for this user?", stream, err, api)
	}
	var r struct {
		Error *struct {
			Code        int    `json:"code"`
			ErrorCode   int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
		Message struct {
			Sequence uint64    `json:"seq"`
			Header   string    `json:"hdrs"`
			Time     time.Time `json:"time"`
			Data     []byte    `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		return storedMessage{}, fmt.Errorf("read the last message of stream %s: %w", stream, err)
	}
	switch {
	case r.Error != nil && r.Error.ErrorCode == codeNoMessage:
		return storedMessage{}, nil
	case r.Error != nil && r.Error.ErrorCode == codeNoStream:
		return storedMessage{}, errors.New("stream " + stream + " does not exist: waiting for the operator to make it")
	case r.Error != nil:
		return storedMessage{}, fmt.Errorf("read the last message of stream %s: %s", stream, r.Error.Description)
	}
	m := storedMessage{seq: r.Message.Sequence, header: nats.Header{}, time: r.Message.Time, data: r.Message.Data}
	if raw, err := base64.StdEncoding.DecodeString(r.Message.Header); err == nil && len(raw) > 0 {
		if h, err := nats.DecodeHeadersMsg(raw); err == nil {
			m.header = h
		}
	}
	return m, nil
}

// Codes of the server (server/errors.json).
const (
	codeNoMessage = 10037
	codeNoStream  = 10059
)

// load reads where the track stands.
func (l *lane) load(ctx context.Context, t *track) error {
	last, err := l.e.lastStored(ctx, t.port.out.Stream, t.last)
	if err != nil {
		return err
	}
	t.fence = last.seq
	t.output = progress.ParseOutput(last.header.Get(headerStep), l.places)
	t.packed = progress.ParseReach(last.header.Get(headerPosition), l.places)
	t.written = last.time
	return nil
}

// subjectOf is where an event of this severity goes on the track of a port of single events.
func (t *track) subjectOf(severity int32) string {
	if t.port.out.Format != config.FormatCloudEvent {
		return t.subject
	}
	return strings.Replace(t.last, ".*.", "."+severityToken(severity)+".", 1)
}

// severityToken names an OpenTelemetry severity number in a subject.
func severityToken(n int32) string {
	switch level := event.SeverityLevel(n); level {
	case "fatal", "error", "warn":
		return level
	default:
		return "info"
	}
}
