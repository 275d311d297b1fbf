package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace.dev/millrace/workers/stage"
)

// TestAcknowledgementsAfterAReconnect: the consumer is reset while messages are in hand, so they have other delivery numbers
// than those with which they came. Acknowledged by the old ones, the server would take no acknowledgement
// for as many messages.
func TestAcknowledgementsAfterAReconnect(t *testing.T) {
	r := newRig(t)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	s := &testStage{stateful: true, process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			if strings.HasPrefix(b.Events[i].ID, "held") {
				<-gate
			}
		}
		return nil
	}}
	ids := r.publish("a", 200)
	e := r.run(s, nil)
	r.wantDrained(10 * time.Second)
	ids = append(ids, r.publish("held", 5)...)
	inHand := func(n int) {
		t.Helper()
		eventually(t, 10*time.Second, func() string {
			if got := e.Stats().InFlightMessages; got != n {
				return fmt.Sprintf("%d messages are in hand, want %d", got, n)
			}
			return ""
		})
	}
	inHand(5)
	if err := e.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string { // delivered again
		if c := r.consumerInfo(); c.Delivered.Consumer != 5 || c.NumAckPending != 5 {
			return fmt.Sprintf("delivered %d, %d to be acknowledged", c.Delivered.Consumer, c.NumAckPending)
		}
		return ""
	})
	open()
	// A steady flow: the lane is never quiet for as long as after which it would look.
	for i := range 20 {
		ids = append(ids, r.publish(fmt.Sprintf("b%d-", i), 1)...)
		time.Sleep(100 * time.Millisecond)
	}
	inHand(0)
	if c := r.consumerInfo(); c.AckFloor.Stream < 220 {
		t.Errorf("acknowledged up to %d of 225 right behind a steady flow", c.AckFloor.Stream)
	}
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", ids)
}
