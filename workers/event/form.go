package event

import (
	"strings"
)

// The content types that say which form a message has.
const (
	ContentTypeFrame      = "application/vnd.millrace.frame.v1"
	ContentTypeCloudEvent = "application/cloudevents+json"
	ContentTypeBatch      = "application/cloudevents-batch+json"
	ContentTypeNDJSON     = "application/x-ndjson"
	ContentTypeJSON       = "application/json"

	// HeaderContentType is the header that holds it.
	HeaderContentType = "Content-Type"
	// HeaderEvents is the header of a frame that holds its number of events.
	HeaderEvents = "Millrace-Events"
)

// Form is the form that an event was received in.
type Form uint8

// The forms.
const (
	// FormUnknown is a message that could not be told apart.
	FormUnknown Form = iota
	// FormJSON is a message of one native or structured CloudEvents JSON object.
	FormJSON
	// FormLine is one line of NDJSON.
	FormLine
	// FormElement is one element of a JSON array: a CloudEvents batch.
	FormElement
	// FormBinary is a binary CloudEvent: attributes in ce-* headers, payload as data.
	FormBinary
	// FormFrame is one event of a frame.
	FormFrame
)

// String names the form, for logs and metrics.
func (f Form) String() string {
	if int(f) >= len(formNames) {
		return formNames[FormUnknown]
	}
	return formNames[f]
}

var formNames = [...]string{
	FormUnknown: "unknown", FormJSON: "json", FormLine: "ndjson", FormElement: "batch",
	FormBinary: "binary", FormFrame: "frame",
}

// elementType is the content type of one event that was taken out of its message; empty
// when the event is the whole message.
func (f Form) elementType() string {
	switch f {
	case FormLine, FormElement:
		return ContentTypeJSON
	case FormFrame:
		return ContentTypeFrame
	}
	return ""
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

// media returns a content type without its parameters.
func media(contentType string) string {
	if i := strings.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	return strings.TrimSpace(contentType)
}

// isJSON tells whether a payload of this content type is JSON: none at all, */json, */*+json.
func isJSON(contentType string) bool {
	m := media(contentType)
	if m == "" {
		return true
	}
	slash := strings.IndexByte(m, '/')
	if slash < 0 {
		return false
	}
	sub := m[slash+1:]
	return strings.EqualFold(sub, "json") || len(sub) > 5 && strings.EqualFold(sub[len(sub)-5:], "+json")
}

// binaryMode tells whether the headers are those of a binary CloudEvent.
func binaryMode(h map[string][]string) bool {
	for k := range h {
		if len(k) > 3 && strings.EqualFold(k[:3], "ce-") {
			switch strings.ToLower(k[3:]) {
			case "specversion", "id", "type":
				return true
			}
		}
	}
	return false
}

// formOf decides by the headers; FormUnknown leaves it to the first byte.
func formOf(h map[string][]string) Form {
	if len(h) == 0 {
		return FormUnknown
	}
	ct := media(header(h, HeaderContentType))
	switch {
	case strings.EqualFold(ct, ContentTypeFrame):
		return FormFrame
	case strings.EqualFold(ct, ContentTypeCloudEvent):
		return FormJSON
	case strings.EqualFold(ct, ContentTypeBatch):
		return FormElement
	case binaryMode(h):
		return FormBinary
	case strings.EqualFold(ct, ContentTypeNDJSON), strings.EqualFold(ct, "application/ndjson"), strings.EqualFold(ct, "application/jsonl"):
		return FormLine
	}
	return FormUnknown
}
