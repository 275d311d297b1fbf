package collect

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

var errEncode = errors.New("encode event")

// EncodeFrame packs events into the body of a message.
func EncodeFrame(batch []*eventv1.Event) ([]byte, error) {
	var w frame.Writer
	w.Begin(frame.Header{})
	for _, e := range batch {
		encoded, err := proto.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("%w %s: %w", errEncode, e.Id, err)
		}
		w.AddEncoded(encoded, int64(e.TimeUnixNano))
	}
	return w.AppendTo(nil), nil
}

// DecodeFrame reads back what a collector published. A frame that it cannot read is an error:
// what it does not know it would publish again. Earlier releases wrote events of any size.
func DecodeFrame(header map[string][]string, body []byte) ([]event.Event, error) {
	events, bad := decode.New(decode.Limits{MaxEvent: 16 << 20}).Decode(nil, decode.Message{Header: header, Data: body})
	if len(bad) > 0 {
		return nil, fmt.Errorf("decode frame: event %d: %w", bad[0].Index, bad[0].Err)
	}
	return events, nil
}
