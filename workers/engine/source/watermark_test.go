package source

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/stored"
)

// TestWatermarkWhileOthersWrite: a lane is taken over behind message 1, and two messages come while it asks how far the writer was. What the
// second of them says of the first one is not yet true for the lane, which has received neither.
func TestWatermarkWhileOthersWrite(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js := harness.JetStream(t, server)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "IN", Subjects: []string{"in.>"}, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	write := func(before, until int) {
		t.Helper()
		m := &nats.Msg{Subject: "in.0", Header: nats.Header{"Before": {strconv.Itoa(before)}, "Until": {strconv.Itoa(until)}}}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Error(err)
		}
	}
	write(0, 10)

	// Questions in this domain come to the server by way of the test, which writes behind the first one.
	const domain = config.Domain("between")
	asked := 0
	between, err := nc.Subscribe(domain.API("STREAM.MSG.GET.IN"), func(m *nats.Msg) {
		answer, err := nc.Request(config.Domain("").API("STREAM.MSG.GET.IN"), m.Data, 2*time.Second)
		if err != nil {
			t.Error(err)
			return
		}
		if asked++; asked == 1 {
			write(10, 20)
			write(20, 30)
		}
		_ = m.Respond(answer.Data)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer between.Unsubscribe()

	asks, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer asks.Close()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	in := New(&Options{Conn: asks, Stored: &stored.Client{Conn: asks, Domain: domain}, Config: config.Input{From: "one/out", Stream: "IN"}, Inputs: 1, Lanes: 1})
	said := func(h nats.Header) (before, after int64) {
		before, _ = strconv.ParseInt(h.Get("Before"), 10, 64)
		after, _ = strconv.ParseInt(h.Get("Until"), 10, 64)
		return before, after
	}
	for i, want := range []int64{10, 10} { // while they come, and later
		got, err := in.Watermark(t.Context(), "in.0", 1, said)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("question %d: the writer was at %d behind message 1, want %d", i, got, want)
		}
	}
	if got, err := in.Watermark(t.Context(), "in.0", 3, said); err != nil || got != 30 {
		t.Errorf("behind the last message: %d, %v, want 30", got, err)
	}
}
