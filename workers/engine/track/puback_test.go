package track

import (
	"testing"

	"github.com/nats-io/nats.go"
)

func TestPubAck(t *testing.T) {
	for name, c := range map[string]struct {
		msg       *nats.Msg
		problem   string
		duplicate bool
	}{
		"stored":       {&nats.Msg{Data: []byte(`{"stream":"OUT","seq":3}`)}, "", false},
		"duplicate":    {&nats.Msg{Data: []byte(`{"stream":"OUT","seq":3,"duplicate":true}`)}, "", true},
		"full":         {&nats.Msg{Data: []byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`)}, "full (maximum bytes exceeded): waiting until there is room", false},
		"store fails":  {&nats.Msg{Data: []byte(`{"error":{"code":503,"err_code":10077,"description":"store is closed"}}`)}, "store is closed (10077)", false},
		"too large":    {&nats.Msg{Data: []byte(`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`)}, "its max_msg_size is smaller than a frame: raise it", false},
		"other":        {&nats.Msg{Data: []byte(`{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}`)}, "insufficient resources (10023)", false},
		"no responder": {&nats.Msg{Header: nats.Header{"Status": {"503"}}}, "no stream takes the subject, or JetStream is not available", false},
		"no PubAck":    {&nats.Msg{Data: []byte(`{}`)}, "the answer to a publish is no PubAck", false},
		"no JSON":      {&nats.Msg{Data: []byte(`+OK`)}, "the answer to a publish is no PubAck", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := readPubAck(c.msg).full; got != (name == "full") {
				t.Errorf("full: %t", got)
			}
			if got := readPubAck(c.msg); got.problem != c.problem || got.Duplicate != c.duplicate {
				t.Errorf("got %+v, want %q, duplicate %v", got, c.problem, c.duplicate)
			}
		})
	}
}
