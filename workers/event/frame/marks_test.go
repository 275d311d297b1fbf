package frame_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// TestMarks: a frame names its marked events, and a reader of these alone sees what a reader of all events sees of them.
func TestMarks(t *testing.T) {
	read := func(m decode.Message, l decode.Limits) []event.Event {
		events, bad := decode.New(l).Decode(nil, m)
		if len(bad) > 0 {
			t.Fatal(bad[0].Err)
		}
		return events
	}
	for name, c := range map[string]struct {
		n    int
		line func(i int) string
		want string // of the header
	}{
		"none":             {50, func(int) string { return `"type":"app.log","severitynumber":9` }, "none"},
		"warnings":         {50, func(i int) string { return fmt.Sprintf(`"type":"app.log","severitynumber":%d`, 9+i%20/19*4) }, "19,39"},
		"of Kubernetes":    {4, func(i int) string { return []string{`"type":"k8s.pod.ready"`, `"type":"k8sx"`}[i%2] }, "0,2"},
		"as many as fit":   {512, func(int) string { return `"severitynumber":17` }, ""},
		"more than we say": {513, func(int) string { return `"severitynumber":17` }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var lines strings.Builder
			for i := range c.n {
				fmt.Fprintf(&lines, `{"id":"%d","source":"s","resource":{"service.name":"cart"},%s}`+"\n", i, c.line(i))
			}
			events := read(decode.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}}, Data: []byte(lines.String())}, decode.Limits{Lift: true})
			w := frame.Writer{Hints: true}
			w.Begin(frame.Header{})
			for i := range events {
				w.Add(&events[i])
			}
			got := w.Marks()
			if c.n < 500 && got != c.want || c.n == 512 && !strings.HasSuffix(got, ",511") || c.n > 512 && got != "" {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			if got == "" {
				return
			}
			marks, ok := frame.ParseMarks(got)
			if !ok {
				t.Fatalf("%q cannot be read", got)
			}
			m := decode.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeFrame}}, Data: w.AppendTo(nil), Sequence: 7}
			all := slices.DeleteFunc(read(m, decode.Limits{Hints: true}), func(e event.Event) bool { return !e.Marked() })
			m.Only = marks
			only := read(m, decode.Limits{Hints: true})
			if len(only) != len(all) || len(only) != len(marks) {
				t.Fatalf("%d events, want %d", len(only), len(all))
			}
			for i := range all {
				if only[i].Origin != all[i].Origin || string(only[i].AppendProto(nil)) != string(all[i].AppendProto(nil)) {
					t.Errorf("event %d is %+v, want %+v", i, only[i].Origin, all[i].Origin)
				}
			}
		})
	}
	for _, text := range []string{"", "x", "3,2", "1,1", "-1", "1,", "1 2", "None"} {
		if marks, ok := frame.ParseMarks(text); ok {
			t.Errorf("%q was read as %v", text, marks)
		}
	}
}
