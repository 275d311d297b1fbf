package correlate

import (
	"strings"

	"millrace.dev/millrace/workers/event"
)

// maxDetail bounds what a title says of a change or a failure beyond its kind.
const maxDetail = 160

// unchangedText is what collectors said of any change of a specification before they named the fields.
const unchangedText = "the specification has changed, apart from images and replicas"

// detailOf says what changed, which image, or why: what a person would ask next.
func detailOf(e *event.Event, s signal) string {
	switch s {
	case signalConfigChange, signalImageChange:
		if fields, ok := e.Attribute("k8s.change.fields"); ok && fields.Text() != "" {
			return shortenTo(fields.Text(), maxDetail)
		}
		if e.Body != unchangedText {
			return shortenTo(strings.TrimPrefix(e.Body, "the images are now "), maxDetail)
		}
	case signalScaling:
		return shortenTo(strings.TrimPrefix(e.Body, "scaled "), maxDetail)
	case signalImagePull:
		if image, ok := e.Attribute("container.image.name"); ok && image.Text() != "" {
			return shortenTo(image.Text(), maxDetail)
		}
		return shortenTo(quotedAfter(e.Body, "image"), maxDetail)
	case signalJobFailed:
		if reason, ok := e.Attribute("k8s.job.failed.reason"); ok && reason.Text() != "" {
			return shortenTo(reason.Text(), maxDetail)
		}
		return shortenTo(e.KubernetesReason(), maxDetail)
	case signalCreateFailure:
		return shortenTo(refusal(e.Body), maxDetail)
	}
	return ""
}

// quotedAfter is what stands in quotes after a word, such as the image of "Failed to pull image "x"".
func quotedAfter(s, word string) string {
	_, rest, _ := strings.Cut(s, word)
	_, rest, ok := strings.Cut(rest, `"`)
	quoted, _, closed := strings.Cut(rest, `"`)
	if !ok || !closed {
		return ""
	}
	return quoted
}

// refusal is the API server's reason in the note about a pod that could not be created: what follows
// the words `pods "x" is forbidden: `.
func refusal(note string) string {
	if _, reason, ok := strings.Cut(note, "is forbidden: "); ok {
		return reason
	}
	return strings.TrimPrefix(note, "Error creating: ")
}
