package harness_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

func TestNATSSurvivesKill(t *testing.T) {
	s := harness.StartNATS(t, natsserver.Options{User: "mill", Password: "wheel", MaxPayload: 8 << 20})
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.MaxPayload(); got != 8<<20 {
		t.Errorf("max payload: got %d, want %d", got, 8<<20)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s.1", []byte("drop")); err != nil {
		t.Fatal(err)
	}

	before := s.Pid()
	s.Kill9()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Pid() == before {
		t.Error("the process is the same after a kill")
	}
	nc2, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc2.Close()
	js2, err := jetstream.New(nc2)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js2.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("messages after kill -9: got %d, want 1", got)
	}
}

func TestEmbeddedNATSPermissions(t *testing.T) {
	s := harness.RunEmbeddedNATS(t, natsserver.Options{Config: `
authorization { users: [ {user: "reader", password: "x", permissions: {publish: {deny: "secret"}}} ] }
`})
	if _, err := s.Connect(); err == nil {
		t.Error("a client without credentials was let in")
	}
}
