package jetstream_test

import (
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// ADR 30 rests on where the server has a consumer stand that starts at a time.
func TestWhereAConsumerWithAStartTimeStands(t *testing.T) {
	b := start(t)
	if _, err := b.js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	publish := func(subject string) time.Time {
		ack, err := b.js.Publish(t.Context(), subject, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.js.Stream(t.Context(), "S")
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.GetMsg(t.Context(), ack.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		return m.Time
	}
	publish("s.0")
	publish("s.0")
	at := publish("s.1") // the first message from the time on is another lane's
	publish("s.0")
	future := time.Now().Add(time.Hour)
	tests := map[string]struct {
		from           time.Time
		floor, pending uint64
	}{
		"the floor is behind what was stored before, also in another lane": {from: at, floor: 2, pending: 1},
		"a time to come delivers what is stored before that time":          {from: future, floor: 4, pending: 1},
	}
	consumers := map[string]natsjs.Consumer{}
	for name, tt := range tests {
		c, err := b.js.CreateConsumer(t.Context(), "S", natsjs.ConsumerConfig{
			FilterSubject: "s.0", AckPolicy: natsjs.AckAllPolicy, DeliverPolicy: natsjs.DeliverByStartTimePolicy, OptStartTime: &tt.from,
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		consumers[name] = c
	}
	publish("s.0")
	for name, tt := range tests {
		want := tt.pending
		if tt.from.Equal(at) {
			want++
		}
		// A worker that takes over a lane resets its consumer.
		info := consumers[name].CachedInfo()
		if _, err := b.js.Conn().RequestWithContext(t.Context(), "$JS.API.CONSUMER.RESET.S."+info.Name, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		info, err := consumers[name].Info(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if info.AckFloor.Stream != tt.floor || info.NumPending != want {
			t.Errorf("%s: got floor %d and %d pending, want %d and %d", name, info.AckFloor.Stream, info.NumPending, tt.floor, want)
		}
	}
}
