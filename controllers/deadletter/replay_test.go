package deadletter

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/controllers/internal/jetstream"
)

// TestMessage: what came in at the ingress goes back where it came in, what died between stages begins again, and
// neither headers of the server nor of the project go with it.
func TestMessage(t *testing.T) {
	tests := map[string]struct {
		to, subject, want string
	}{
		"below the ingress":           {subject: "events.raw.a.b", want: "events.raw.a.b"},
		"the ingress itself":          {subject: "events.raw", want: "events.raw"},
		"between stages":              {subject: "events.validated.3", want: "events.raw.replayed"},
		"a longer name":               {subject: "events.rawest.x", want: "events.raw.replayed"},
		"not known":                   {want: "events.raw.replayed"},
		"where the command line says": {to: "events.raw.mine", subject: "events.raw.a", want: "events.raw.mine"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := replay{stream: "DEAD", ingress: "events.raw", to: "events.raw.replayed"}
			if test.to != "" {
				r.ingress, r.to = "", test.to
			}
			dead := &jetstream.Message{Sequence: 7, Data: []byte("x"), Header: map[string][]string{
				"Millrace-Reason": {"rule_failed"}, "Nats-Expected-Last-Subject-Sequence": {"3"}, "ce-id": {"1"},
			}}
			if test.subject != "" {
				dead.Header["Millrace-Subject"] = []string{test.subject}
			}
			want := &jetstream.Message{Subject: test.want, ID: "dead-letter:DEAD:7", Header: map[string][]string{"ce-id": {"1"}}, Data: []byte("x")}
			if diff := cmp.Diff(want, r.message(dead)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
