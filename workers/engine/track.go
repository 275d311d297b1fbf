package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
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
	outlet *chain.Outlet
	// fence is the stream sequence of the last message; 0 = there is none.
	fence   uint64
	written time.Time // when the last message was stored
	inDoubt bool      // something of the step in doubt, namely what stands behind since
	since   uint64
	output  *progress.Output // what the last message said then; nil = nothing
	noBatch bool             // the stream takes no atomic batches
}

// output is one message to be stored on a track.
type output struct {
	of     *chain.Output
	msg    nats.Msg
	buffer *[]byte // the pooled memory of msg.Data; nil = not pooled
	number uint64  // of the outputs of a session
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

// parseOutput reads what an output on a track says of its step; nil when that cannot be read.
func (l *lane) parseOutput(t *track, h nats.Header) *progress.Output {
	return progress.ParseOutput(h.Get(headerStep), l.places, t.outlet.Node.Ports.Names)
}

// load reads where the track stands.
func (l *lane) load(ctx context.Context, t *track) error {
	last, err := l.e.lastStored(ctx, t.outlet.Port.Out.Stream, t.outlet.Pattern)
	if err != nil {
		return err
	}
	t.fence = last.seq
	t.output = l.parseOutput(t, last.header)
	t.outlet.Packed = progress.ParseReach(last.header.Get(headerPosition), l.places)
	t.written = last.time
	return nil
}
