package rivals

import (
	"testing"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// coder decodes a frame, and encodes the events of the last one as a frame.
type coder interface {
	decode(frame []byte) error
	encode() error
}

// BenchmarkCodec decodes the frames that a publisher sends, and encodes their events again, S2
// included: with our codec, with the code that vtprotobuf makes of event.proto, and with protobuf-go.
func BenchmarkCodec(b *testing.B) {
	frames, events := readFrames(b, "raw"), 0
	for _, f := range frames {
		m := &eventv1.Frame{}
		plain, err := s2.Decode(nil, f)
		if err == nil {
			err = proto.Unmarshal(plain, m)
		}
		if err != nil {
			b.Fatal(err)
		}
		events += len(m.GetEvents())
	}
	for _, c := range []struct {
		name string
		coder
	}{
		{"ours", &ours{decoder: decode.New(decode.Limits{})}},
		{"vtprotobuf", &vtprotobuf{}},
		{"protobuf-go", &protobufGo{}},
	} {
		for _, encode := range []bool{false, true} {
			name := c.name + "/decode"
			if encode {
				name += "-and-encode"
			}
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					for _, f := range frames {
						err := c.decode(f)
						if err == nil && encode {
							err = c.encode()
						}
						if err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

type ours struct {
	decoder *decode.Decoder
	events  []event.Event
	writer  frame.Writer
	out     []byte
}

func (c *ours) decode(frame []byte) error {
	c.decoder.Reset()
	var bad []decode.Undecodable
	c.events, bad = c.decoder.Decode(c.events[:0], decode.Message{
		Header: map[string][]string{"Content-Type": {event.ContentTypeFrame}}, Data: frame,
	})
	if len(bad) > 0 {
		return bad[0].Err
	}
	return nil
}

func (c *ours) encode() error {
	c.writer.Begin(frame.Header{InputStream: "RAW_EVENTS"})
	for i := range c.events {
		c.writer.Add(&c.events[i])
	}
	c.out = c.writer.AppendTo(c.out[:0])
	return nil
}

// vtprotobuf takes messages from its pools, and strings that share the memory of the input.
type vtprotobuf struct {
	frame      *eventv1.Frame
	plain, out []byte
	packed     []byte
}

func (c *vtprotobuf) decode(frame []byte) (err error) {
	if c.frame != nil {
		c.frame.ReturnToVTPool()
	}
	c.frame = eventv1.FrameFromVTPool()
	if c.plain, err = s2.Decode(c.plain[:cap(c.plain)], frame); err != nil {
		return err
	}
	return c.frame.UnmarshalVTUnsafe(c.plain)
}

func (c *vtprotobuf) encode() error {
	size := c.frame.SizeVT()
	if cap(c.out) < size {
		c.out = make([]byte, size)
	}
	if _, err := c.frame.MarshalToSizedBufferVT(c.out[:size]); err != nil {
		return err
	}
	c.packed = s2.Encode(c.packed[:cap(c.packed)], c.out[:size])
	return nil
}

type protobufGo struct {
	frame              eventv1.Frame
	plain, out, packed []byte
}

func (c *protobufGo) decode(frame []byte) (err error) {
	if c.plain, err = s2.Decode(c.plain[:cap(c.plain)], frame); err != nil {
		return err
	}
	return proto.Unmarshal(c.plain, &c.frame)
}

func (c *protobufGo) encode() (err error) {
	if c.out, err = (proto.MarshalOptions{}).MarshalAppend(c.out[:0], &c.frame); err != nil {
		return err
	}
	c.packed = s2.Encode(c.packed[:cap(c.packed)], c.out)
	return nil
}
