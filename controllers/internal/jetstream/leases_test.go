package jetstream_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// reconcileLeases does what the Pipeline controller does with the bucket.
func (b *bench) reconcileLeases(t *testing.T, want plan.Leases) jetstream.StreamChange {
	t.Helper()
	have, err := b.client.Stream(want.Stream())
	if err != nil {
		have = nil
	}
	change := jetstream.CompareLeases(want, owner, have)
	switch change.Action {
	case jetstream.ActionCreate:
		_, err = b.client.CreateStream(change.Config)
	case jetstream.ActionUpdate:
		_, err = b.client.UpdateStream(have, change.Config)
	default:
		err = nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return change
}

// TestLeasesAreABucketOfTheClient: what the operator makes is the bucket that nats.go would
// make, but for its limit and its owner.
func TestLeasesAreABucketOfTheClient(t *testing.T) {
	b := start(t)
	if got := b.reconcileLeases(t, plan.Leases{Bucket: "shop_orders", Replicas: 1}); got.Action != jetstream.ActionCreate || got.Name != "KV_shop_orders" {
		t.Fatalf("first: got %s of %s", got.Action, got.Name)
	}
	b.written(t)
	if got := b.reconcileLeases(t, plan.Leases{Bucket: "shop_orders", Replicas: 1}); got.Action != jetstream.ActionNone {
		t.Errorf("again: got %s (%s), want none", got.Action, got.Fields)
	}
	if got := b.written(t); len(got) != 0 {
		t.Errorf("again: got requests %v, want none", got)
	}
	if _, err := b.js.CreateKeyValue(t.Context(), natsjs.KeyValueConfig{Bucket: "theirs", MaxValueSize: plan.LeasesMaxValueBytes, MaxBytes: 16 << 20}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.bucket(t, "KV_theirs"), b.bucket(t, "KV_shop_orders")); diff != "" {
		t.Errorf("(-nats.go +operator)\n%s", diff)
	}

	kv, err := b.js.KeyValue(t.Context(), "shop_orders")
	if err != nil {
		t.Fatal(err)
	}
	revision, err := kv.Create(t.Context(), "validate", []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Update(t.Context(), "validate", []byte("b"), revision); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Update(t.Context(), "validate", []byte("c"), revision); err == nil {
		t.Error("a revision that is not the last was taken")
	}
	if _, err := kv.Put(t.Context(), "validate", make([]byte, plan.LeasesMaxValueBytes+1)); err == nil {
		t.Error("a value above the limit was taken")
	}
}

func TestLeasesDriftIsRepaired(t *testing.T) {
	want := plan.Leases{Bucket: "shop_orders", Replicas: 1}
	tests := map[string]struct {
		edit  func(*natsjs.StreamConfig)
		field string
	}{
		"history": {func(c *natsjs.StreamConfig) { c.MaxMsgsPerSubject = 5 }, "max_msgs_per_subject"},
		"age":     {func(c *natsjs.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		"rollup":  {func(c *natsjs.StreamConfig) { c.AllowRollup = false }, "allow_rollup_hdrs"},
		"direct":  {func(c *natsjs.StreamConfig) { c.AllowDirect = false }, "allow_direct"},
		"size":    {func(c *natsjs.StreamConfig) { c.MaxMsgSize = 1 }, "max_msg_size"},
	}
	b := start(t)
	b.reconcileLeases(t, want)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := b.js.Stream(t.Context(), want.Stream())
			if err != nil {
				t.Fatal(err)
			}
			c := s.CachedInfo().Config
			test.edit(&c)
			if _, err := b.js.UpdateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			got := b.reconcileLeases(t, want)
			if got.Action != jetstream.ActionUpdate || len(got.Fields) != 1 || got.Fields[0].Name != test.field {
				t.Errorf("got %s (%s), want update of %s", got.Action, got.Fields, test.field)
			}
			if again := b.reconcileLeases(t, want); again.Action != jetstream.ActionNone {
				t.Errorf("after the repair: got %s (%s), want none", again.Action, again.Fields)
			}
		})
	}
	other := want
	other.Memory = true
	if got := b.reconcileLeases(t, other); got.Action != jetstream.ActionImmutable || got.Fields.String() != "storage: File -> Memory" {
		t.Errorf("other storage: got %s (%s), want it refused", got.Action, got.Fields)
	}
}
