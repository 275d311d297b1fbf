package kubernetes

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

const frameContentType = "application/vnd.millrace.frame.v1"

func encodeFrame(batch []*eventv1.Event) ([]byte, error) {
	frame := &eventv1.Frame{Version: 1, Count: uint32(len(batch)), Events: batch}
	for i, e := range batch {
		if i == 0 || e.TimeUnixNano < frame.MinTimeUnixNano {
			frame.MinTimeUnixNano = e.TimeUnixNano
		}
		frame.MaxTimeUnixNano = max(frame.MaxTimeUnixNano, e.TimeUnixNano)
	}
	b, err := proto.Marshal(frame)
	if err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	return s2.Encode(nil, b), nil
}

func decodeFrame(body []byte) ([]*eventv1.Event, error) {
	b, err := s2.Decode(nil, body)
	if err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	frame := &eventv1.Frame{}
	if err := proto.Unmarshal(b, frame); err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	return frame.Events, nil
}
