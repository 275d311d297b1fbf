package kubernetes

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/collect"
)

// What the ledger has is read back; only what changed is written.
func TestLedgerIsReadBack(t *testing.T) {
	kv, err := collect.OpenBucket(t.Context(), harness.JetStream(t, harness.RunEmbeddedNATS(t, natsserver.Options{})), "checkpoints")
	if err != nil {
		t.Fatal(err)
	}
	store := collect.NewStore(kv, "test")
	l := newLedger()
	for i := range 1000 {
		l.set(fmt.Sprint("pod-", i), kindPod, "restarted/app", fmt.Sprint(i))
	}
	since := time.Unix(1000, 0).UTC()
	late := map[string]time.Time{kindNode: since}
	position := collect.Position{Version: 1, Cluster: "test", Stream: "RAW", Created: since, Sequence: 17}
	if err := store.Save(t.Context(), newCheckpoint(l, since, late), position); err != nil {
		t.Fatal(err)
	}
	if c := newCheckpoint(l, since, late); len(c.Shards) != 0 {
		t.Errorf("nothing has changed: got a checkpoint of %d shards", len(c.Shards))
	}
	l.set("pod-1", kindPod, "failed", "1")
	c := newCheckpoint(l, since, late)
	if len(c.Shards) != 1 {
		t.Errorf("one object has changed: got %d shards, want 1", len(c.Shards))
	}
	position.Sequence = 18
	if err := store.Save(t.Context(), c, position); err != nil {
		t.Fatal(err)
	}
	saved, found, err := store.Load(t.Context())
	if err != nil || !found {
		t.Fatal(found, err)
	}
	got, gotHead, err := readCheckpoint(saved)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.objects, got.objects); diff != "" {
		t.Errorf("-saved +loaded\n%s", diff)
	}
	if diff := cmp.Diff(head{Position: position, Since: since, Late: late, Kinds: kinds}, gotHead); diff != "" {
		t.Errorf("head: -saved +loaded\n%s", diff)
	}
	if got.dirty != ([collect.Shards]bool{}) {
		t.Error("what was just read is written again")
	}
	// What an earlier release left under another key is written as a whole, under the new one.
	saved.Moved = true
	if got, _, err = readCheckpoint(saved); err != nil {
		t.Fatal(err)
	}
	if c := newCheckpoint(got, since, late); len(c.Shards) != collect.Shards {
		t.Errorf("of an earlier release: got %d shards, want all", len(c.Shards))
	}
}

// The head that the releases before wrote is read, and the one that is written has no other names.
func TestHeadKeepsItsForm(t *testing.T) {
	const text = `{"version":1,"cluster":"c","stream":"RAW","created":"1970-01-01T00:16:40Z","sequence":17,` +
		`"since":"1970-01-01T00:16:40Z","late":{"Node":"0001-01-01T00:00:00Z"},"kinds":["Pod"]}`
	since := time.Unix(1000, 0).UTC()
	want := head{
		Position: collect.Position{Version: 1, Cluster: "c", Stream: "RAW", Created: since, Sequence: 17},
		Since:    since, Late: map[string]time.Time{kindNode: {}}, Kinds: []string{kindPod},
	}
	encoded, err := json.Marshal(want)
	if err != nil || string(encoded) != text {
		t.Errorf("got %s, %v\nwant %s", encoded, err, text)
	}
	_, got, err := readCheckpoint(collect.Saved{Position: want.Position, Head: []byte(text)})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v; -want +got\n%s", err, diff)
	}
}
