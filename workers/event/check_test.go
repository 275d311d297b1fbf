package event_test

import (
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// TestCheckFindsWhatDecodingFinds: of events that were damaged at random, the checker refuses those that protobuf does.
func TestCheckFindsWhatDecodingFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	c := event.NewChecker()
	refused := 0
	for range 20_000 {
		encoded, err := proto.Marshal(randomEvent(r))
		if err != nil {
			t.Fatal(err)
		}
		if len(encoded) > 0 {
			for range r.IntN(3) {
				encoded[r.IntN(len(encoded))] = byte(r.Uint32())
			}
			encoded = encoded[:len(encoded)-r.IntN(min(2, len(encoded)))]
		}
		want := proto.Unmarshal(encoded, &eventv1.Event{})
		if want != nil {
			refused++
		}
		if got := c.Check(encoded); (got == nil) != (want == nil) {
			t.Fatalf("%x: %v, protobuf says %v", encoded, got, want)
		}
	}
	if refused < 1000 || refused > 19_000 {
		t.Errorf("%d of 20,000 are refused: the test says little", refused)
	}
}
