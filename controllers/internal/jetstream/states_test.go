package jetstream_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// TestStatesAreABucketOfTheClient: what the operator makes is the bucket that nats.go would make, but for its owner, and
// is left alone afterwards.
func TestStatesAreABucketOfTheClient(t *testing.T) {
	b := start(t)
	for memory, size := range map[bool]int64{false: 256 << 20, true: 64 << 20} {
		want := plan.States{Bucket: "STATE_orders", Memory: memory, Replicas: 1}
		if memory {
			want.Bucket = "STATE_orders-in-memory"
		}
		change := jetstream.CompareStates(want, owner, nil)
		if change.Action != jetstream.ActionCreate || change.Name != want.Stream() || change.Bucket != "snapshots" {
			t.Fatalf("got %s of %s, a bucket of %q", change.Action, change.Name, change.Bucket)
		}
		if _, err := b.client.CreateStream(change.Config); err != nil {
			t.Fatal(err)
		}
		have, err := b.client.Stream(want.Stream())
		if err != nil {
			t.Fatal(err)
		}
		if again := jetstream.CompareStates(want, owner, have); again.Action != jetstream.ActionNone {
			t.Errorf("again: got %s (%s), want none", again.Action, again.Fields)
		}
		theirs := natsjs.KeyValueConfig{Bucket: "theirs-" + want.Bucket, MaxBytes: size, TTL: plan.StatesMaxAge}
		if memory {
			theirs.Storage = natsjs.MemoryStorage
		}
		if _, err := b.js.CreateKeyValue(t.Context(), theirs); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b.bucket(t, "KV_"+theirs.Bucket), b.bucket(t, want.Stream())); diff != "" {
			t.Errorf("(-nats.go +operator)\n%s", diff)
		}
	}
}
