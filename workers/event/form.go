package event

import "strings"

// The content types that say which form a message has.
const (
	ContentTypeFrame      = "application/vnd.millrace.frame.v1"
	ContentTypeCloudEvent = "application/cloudevents+json"
	ContentTypeBatch      = "application/cloudevents-batch+json"
	ContentTypeNDJSON     = "application/x-ndjson"
	ContentTypeJSON       = "application/json"

	// HeaderContentType is the header that holds it.
	HeaderContentType = "Content-Type"
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

// MediaType returns a content type without its parameters.
func MediaType(contentType string) string {
	if i := strings.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	return strings.TrimSpace(contentType)
}
