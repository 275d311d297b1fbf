package event_test

import (
	"regexp"
	"strings"
	"testing"

	"millrace.dev/millrace/workers/event/decode"
)

var (
	natsPub    = regexp.MustCompile(`(?ms)^\$ nats pub (.*?)(?:\n\n|\n` + "```)")
	headerFlag = regexp.MustCompile(`-H ([\w-]+):(\S+)`)
	quotedBody = regexp.MustCompile(`(?s)'(.*)'`)
)

// TestDocs decodes the messages that docs/events.md shows.
func TestDocs(t *testing.T) {
	examples := natsPub.FindAllStringSubmatch(string(read(t, "../../docs/events.md")), -1)
	var ids []string
	for _, example := range examples {
		m := decode.Message{Header: map[string][]string{}}
		for _, h := range headerFlag.FindAllStringSubmatch(example[1], -1) {
			m.Header[h[1]] = append(m.Header[h[1]], h[2])
		}
		body := quotedBody.FindStringSubmatch(example[1])
		if body == nil {
			continue // the one that sends a file
		}
		m.Data = []byte(body[1])
		e := one(t, m)[0]
		if e.Source == "" || e.Type == "" {
			t.Errorf("example %s has source %q and type %q", example[1], e.Source, e.Type)
		}
		ids = append(ids, e.ID)
	}
	if got := strings.Join(ids, " "); got != "1 2 3 4" || len(examples) != 5 {
		t.Errorf("%d examples with ids %s, want 5 with 1 2 3 4", len(examples), got)
	}
}
