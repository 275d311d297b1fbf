package decode

import (
	"fmt"
	"strings"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/event/jsontext"
)

// formOf decides by the headers; FormUnknown leaves it to the first byte.
func formOf(h map[string][]string) event.Form {
	if len(h) == 0 {
		return event.FormUnknown
	}
	ct := event.MediaType(header(h, event.HeaderContentType))
	switch {
	case strings.EqualFold(ct, event.ContentTypeFrame):
		return event.FormFrame
	case strings.EqualFold(ct, event.ContentTypeCloudEvent):
		return event.FormJSON
	case strings.EqualFold(ct, event.ContentTypeBatch):
		return event.FormElement
	case cloudevent.IsBinary(h):
		return event.FormBinary
	case strings.EqualFold(ct, event.ContentTypeNDJSON), strings.EqualFold(ct, "application/ndjson"), strings.EqualFold(ct, "application/jsonl"):
		return event.FormLine
	}
	return event.FormUnknown
}

// header looks up a header by its name, whatever the case.
func header(h map[string][]string, name string) string {
	if v, ok := h[name]; ok && len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

// elementType is the content type of one event that was taken out of its message; empty
// when the event is the whole message.
func elementType(f event.Form) string {
	switch f {
	case event.FormLine, event.FormElement:
		return event.ContentTypeJSON
	case event.FormFrame:
		return event.ContentTypeFrame
	}
	return ""
}

// AppendReceived appends an event as it was received, for a dead letter: its own line or
// array element, or a frame of one event. contentType is that of the body; it is empty when
// the event was a whole message, whose headers then belong to it too.
func AppendReceived(dst []byte, e *event.Event) (body []byte, contentType string) {
	if e.Form() == event.FormFrame {
		return frame.AppendEncoded(dst, e.Received(), e.Time), event.ContentTypeFrame
	}
	return append(dst, e.Received()...), elementType(e.Form())
}

// unknown says what is wrong with a message that is neither JSON nor a frame.
func unknown(b []byte) error {
	const want = "neither JSON, which begins with { or [, nor a frame"
	if err := jsontext.Foreign(b); err != nil {
		return fmt.Errorf("%s: %w", want, err)
	}
	start := b[:min(len(b), 16)]
	for _, c := range start {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c >= 0x7f {
			return fmt.Errorf("%s: it begins with the bytes % x", want, start)
		}
	}
	return fmt.Errorf("%s: it begins with %q", want, start)
}
