package jetstream

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"
)

// countEvents counts the events of a message whose publisher does not say how many it holds: the
// lines of NDJSON, the elements of an array, objects one behind the other. Everything else is one.
// It counts what a stage will count (docs/events.md); of broken JSON it counts the lines.
func countEvents(header nats.Header, body []byte) int64 {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\uFEFF")))
	contentType, _, _ := strings.Cut(strings.ToLower(first(header, "content-type")), ";")
	switch contentType = strings.TrimSpace(contentType); {
	case strings.HasSuffix(contentType, "ndjson") || strings.HasSuffix(contentType, "/jsonl"):
		return lines(body)
	case len(body) == 0 || body[0] != '{' && body[0] != '[' || !strings.HasPrefix(contentType, "application/cloudevents") && first(header, "ce-id") != "":
		return 1
	}
	n, err := values(json.NewDecoder(bytes.NewReader(body)), body[0] == '[')
	switch {
	case err == nil:
		return max(n, 1)
	case body[0] == '{':
		return lines(body)
	}
	return n + 1 // the rest of a broken array is one dead letter
}

// values counts the values of d, or the elements of the one array.
func values(d *json.Decoder, array bool) (n int64, err error) {
	if array {
		if _, err = d.Token(); err != nil {
			return 0, err
		}
	}
	var value json.RawMessage
	for ; d.More(); n++ {
		if err := d.Decode(&value); err != nil {
			return n, err
		}
	}
	return n, nil
}

// lines counts the lines that are not blank.
func lines(body []byte) (n int64) {
	for line := range bytes.Lines(body) {
		if len(bytes.TrimSpace(line)) > 0 {
			n++
		}
	}
	return max(n, 1)
}

// first is the value of a header, whatever the case of its name.
func first(h nats.Header, name string) string {
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}
