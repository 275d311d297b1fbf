package jetstream_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

func TestStreamIsCreatedOnceAndThenLeftAlone(t *testing.T) {
	b := start(t)
	if got := b.reconcile(t, wanted(), owner).Action; got != jetstream.ActionCreate {
		t.Fatalf("first: got %s, want create", got)
	}
	if got := b.written(t); len(got) != 1 {
		t.Fatalf("first: got requests %v, want one", got)
	}
	for range 3 {
		if got := b.reconcile(t, wanted(), owner); got.Action != jetstream.ActionNone {
			t.Fatalf("again: got %s (%s), want none", got.Action, got.Fields)
		}
	}
	if got := b.written(t); len(got) != 0 {
		t.Errorf("again: got requests %v, want none", got)
	}

	s, err := b.js.Stream(t.Context(), "RAW")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	got := map[string]any{
		"retention": c.Retention, "discard": c.Discard, "direct": c.AllowDirect, "atomic": c.AllowAtomicPublish, "duplicates": c.Duplicates,
		"age": c.MaxAge, "bytes": c.MaxBytes, "storage": c.Storage, "subjects": c.Subjects[0],
		"pipeline": c.Metadata[jetstream.MetadataPipeline], "uid": c.Metadata[jetstream.MetadataOwnerUID],
	}
	want := map[string]any{
		"retention": natsjs.LimitsPolicy, "discard": natsjs.DiscardNew, "direct": true, "atomic": true, "duplicates": 2 * time.Minute,
		"age": 24 * time.Hour, "bytes": int64(1 << 20), "storage": natsjs.FileStorage, "subjects": "orders.raw.>",
		"pipeline": "shop/orders", "uid": "uid-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStreamDriftIsRepaired(t *testing.T) {
	edit := map[string]struct {
		edit  func(*natsjs.StreamConfig)
		field string
	}{
		"age":      {func(c *natsjs.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		"bytes":    {func(c *natsjs.StreamConfig) { c.MaxBytes = 1 << 19 }, "max_bytes"},
		"discard":  {func(c *natsjs.StreamConfig) { c.Discard = natsjs.DiscardOld }, "discard"},
		"direct":   {func(c *natsjs.StreamConfig) { c.AllowDirect = false }, "allow_direct"},
		"atomic":   {func(c *natsjs.StreamConfig) { c.AllowAtomicPublish = false }, "allow_atomic"},
		"subjects": {func(c *natsjs.StreamConfig) { c.Subjects = []string{"orders.raw.a"} }, "subjects"},
		"messages": {func(c *natsjs.StreamConfig) { c.MaxMsgs = 7 }, "max_msgs"},
		"window":   {func(c *natsjs.StreamConfig) { c.Duplicates = time.Second }, "duplicate_window"},
		"no ack":   {func(c *natsjs.StreamConfig) { c.NoAck = true }, "no_ack"},
	}
	b := start(t)
	b.reconcile(t, wanted(), owner)
	for name, test := range edit {
		t.Run(name, func(t *testing.T) {
			b.edit(t, test.edit)
			got := b.reconcile(t, wanted(), owner)
			if got.Action != jetstream.ActionUpdate || len(got.Fields) != 1 || got.Fields[0].Name != test.field {
				t.Errorf("got %s (%s), want update of %s", got.Action, got.Fields, test.field)
			}
			if again := b.reconcile(t, wanted(), owner); again.Action != jetstream.ActionNone {
				t.Errorf("after the repair: got %s (%s), want none", again.Action, again.Fields)
			}
		})
	}
}

// TestStreamRecordsTheGraph: in its metadata, anew when it is another one, and not when something else has compressed it.
func TestStreamRecordsTheGraph(t *testing.T) {
	b := start(t)
	recorded := func() string {
		t.Helper()
		s, err := b.js.Stream(t.Context(), "RAW")
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().Config.Metadata[plan.MetadataGraph]
	}
	p := &plan.Plan{Namespace: "shop", Name: "orders"}
	one := plan.EncodeGraph(p)
	p.Partitions = 8
	other := plan.EncodeGraph(p)
	want := wanted()
	b.reconcile(t, want, owner)
	for _, graph := range []string{one, other, ""} {
		want.Graph = graph
		if got := b.reconcile(t, want, owner); got.Action != jetstream.ActionUpdate || len(got.Fields) != 1 || got.Fields[0].Name != "graph" {
			t.Errorf("got %s (%s), want update of graph", got.Action, got.Fields)
		}
		if got := recorded(); got != graph {
			t.Errorf("the stream records %q, want %q", got, graph)
		}
		if again := b.reconcile(t, want, owner); again.Action != jetstream.ActionNone {
			t.Errorf("again: got %s (%s), want none", again.Action, again.Fields)
		}
	}
	same := stored(t, one)
	b.edit(t, func(c *natsjs.StreamConfig) { c.Metadata[plan.MetadataGraph] = same })
	want.Graph = one
	if got := b.reconcile(t, want, owner); got.Action != jetstream.ActionNone || recorded() != same {
		t.Errorf("the same graph in another form: got %s (%s), want none", got.Action, got.Fields)
	}
}

// stored is a recorded graph without compression.
func stored(t *testing.T, graph string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := zlib.NewWriterLevel(&b, zlib.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zlib.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(graph)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, z); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func TestWhatIsNotOursToSetSurvivesARepair(t *testing.T) {
	b := start(t)
	b.reconcile(t, wanted(), owner)
	b.edit(t, func(c *natsjs.StreamConfig) {
		c.MaxAge = time.Hour
		c.Description = "mine"
		c.Metadata["team"] = "checkout"
	})
	b.reconcile(t, wanted(), owner)
	s, err := b.js.Stream(t.Context(), "RAW")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	if c.MaxAge != 24*time.Hour || c.Description != "mine" || c.Metadata["team"] != "checkout" {
		t.Errorf("got age %s, description %q, team %q", c.MaxAge, c.Description, c.Metadata["team"])
	}
}

// TestSubjectTransform: that of an ingress with partitions is made and repaired; on other streams it is the user's.
func TestSubjectTransform(t *testing.T) {
	b := start(t)
	want := wanted()
	ours := plan.Transform{Source: ">", Destination: "orders.raw.{{partition(8)}}.>"}
	users := natsjs.SubjectTransformConfig{Source: "orders.raw.>", Destination: "orders.raw.x.>"}
	setBy := func(want natsjs.SubjectTransformConfig) {
		t.Helper()
		s, err := b.js.Stream(t.Context(), "RAW")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().Config.SubjectTransform; got == nil || *got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	b.reconcile(t, want, owner)
	b.edit(t, func(c *natsjs.StreamConfig) { c.SubjectTransform = &users })
	if got := b.reconcile(t, want, owner); got.Action != jetstream.ActionNone {
		t.Errorf("of the user: got %s (%s), want none", got.Action, got.Fields)
	}
	setBy(users)
	want.Transform = ours
	if got := b.reconcile(t, want, owner); got.Action != jetstream.ActionUpdate || len(got.Fields) != 1 || got.Fields[0].Name != "subject_transform" {
		t.Errorf("ours: got %s (%s), want update of subject_transform", got.Action, got.Fields)
	}
	setBy(natsjs.SubjectTransformConfig(ours))
	if got := b.reconcile(t, want, owner); got.Action != jetstream.ActionNone {
		t.Errorf("again: got %s (%s), want none", got.Action, got.Fields)
	}
}

func TestStreamRefusals(t *testing.T) {
	foreign := natsjs.StreamConfig{Name: "RAW", Subjects: []string{"other.>"}}
	ours := func(c natsjs.StreamConfig) natsjs.StreamConfig {
		c.Metadata = map[string]string{jetstream.MetadataPipeline: "shop/orders", jetstream.MetadataOwnerUID: "uid-1"}
		return c
	}
	tests := map[string]struct {
		have   natsjs.StreamConfig
		action jetstream.Action
		fields string
		owner  string
	}{
		"no owner": {foreign, jetstream.ActionNotOwned, "", "has no Millrace owner"},
		"another pipeline": {
			natsjs.StreamConfig{Name: "RAW", Metadata: map[string]string{jetstream.MetadataPipeline: "shop/returns"}},
			jetstream.ActionNotOwned, "", "belongs to pipeline shop/returns",
		},
		"another cluster": {
			natsjs.StreamConfig{Name: "RAW", Metadata: map[string]string{
				jetstream.MetadataPipeline: "shop/orders", jetstream.MetadataCluster: "blue",
			}},
			jetstream.ActionNotOwned, "", "belongs to pipeline shop/orders of cluster blue",
		},
		"storage": {
			ours(natsjs.StreamConfig{Name: "RAW", Storage: natsjs.MemoryStorage}),
			jetstream.ActionImmutable, "storage: Memory -> File", "",
		},
		"work queue": {
			ours(natsjs.StreamConfig{Name: "RAW", Retention: natsjs.WorkQueuePolicy}),
			jetstream.ActionImmutable, "retention: WorkQueue -> Limits", "",
		},
		"async persistence": {
			ours(natsjs.StreamConfig{Name: "RAW", PersistMode: natsjs.AsyncPersistMode}),
			jetstream.ActionImmutable, "persist_mode: async -> default", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			before, err := b.js.CreateStream(t.Context(), test.have)
			if err != nil {
				t.Fatal(err)
			}
			b.written(t)
			got := b.reconcile(t, wanted(), owner)
			if got.Action != test.action || got.Fields.String() != test.fields || got.Owner != test.owner {
				t.Errorf("got %s %q %q, want %s %q %q", got.Action, got.Fields, got.Owner, test.action, test.fields, test.owner)
			}
			if requests := b.written(t); len(requests) != 0 {
				t.Errorf("got requests %v, want none", requests)
			}
			after, err := b.js.Stream(t.Context(), "RAW")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before.CachedInfo().Config, after.CachedInfo().Config); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRetainedStreamIsTakenOverByItsSuccessor(t *testing.T) {
	b := start(t)
	b.reconcile(t, wanted(), owner)
	if _, err := b.js.Publish(t.Context(), "orders.raw.x", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	successor := owner
	successor.UID = "uid-9"
	got := b.reconcile(t, wanted(), successor)
	if got.Action != jetstream.ActionUpdate || !got.Adopted {
		t.Errorf("got %s, adopted %v; want update, adopted", got.Action, got.Adopted)
	}
	s, err := b.client.Stream("RAW")
	if err != nil {
		t.Fatal(err)
	}
	if s.State.Msgs != 1 || s.Config.Metadata[jetstream.MetadataOwnerUID] != "uid-9" {
		t.Errorf("got %d messages of %s", s.State.Msgs, s.Config.Metadata[jetstream.MetadataOwnerUID])
	}
	if again := b.reconcile(t, wanted(), successor); again.Action != jetstream.ActionNone || again.Adopted {
		t.Errorf("again: got %s, adopted %v; want none", again.Action, again.Adopted)
	}
}

func TestStreamsOfListsOnlyTheOwners(t *testing.T) {
	b := start(t)
	for _, s := range []struct {
		name string
		as   jetstream.Owner
	}{{"A", owner}, {"B", jetstream.Owner{UID: "u", Pipeline: "shop/returns"}}, {"C", owner}} {
		want := wanted()
		want.Name, want.Subjects = s.name, []string{s.name + ".>"}
		b.reconcile(t, want, s.as)
	}
	if _, err := b.js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "D", Subjects: []string{"d.>"}}); err != nil {
		t.Fatal(err)
	}
	streams, err := b.client.StreamsOf(stageOwner)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range streams {
		names = append(names, s.Config.Name)
	}
	if diff := cmp.Diff([]string{"A", "C"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestDeleteStream(t *testing.T) {
	b := start(t)
	b.reconcile(t, wanted(), owner)
	for range 2 { // deleting what is gone is no error
		if err := b.client.DeleteStream("RAW"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.client.Stream("RAW"); !errors.Is(err, jetstream.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestSubjectOverlapIsTheServersRefusal(t *testing.T) {
	b := start(t)
	b.reconcile(t, wanted(), owner)
	_, err := b.client.CreateStream(jetstream.StreamConfig(plan.Stream{
		Name: "OTHER", Subjects: []string{"orders.>"}, Replicas: 1, MaxBytes: -1, DuplicateWindow: time.Minute,
	}, owner))
	if err == nil || jetstream.IsUnreachable(err) || errors.Is(err, jetstream.ErrNotFound) {
		t.Errorf("got %v, want the server's refusal", err)
	}
}

// edit changes the stream behind the operator's back.
func (b *bench) edit(t *testing.T, change func(*natsjs.StreamConfig)) {
	t.Helper()
	s, err := b.js.Stream(t.Context(), "RAW")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := b.js.UpdateStream(context.WithoutCancel(t.Context()), c); err != nil {
		t.Fatal(err)
	}
}

// TestAdoptedIngressKeepsItsPartitions: what a Pipeline of before has left stored is read by nobody where partitions are given otherwise.
func TestAdoptedIngressKeepsItsPartitions(t *testing.T) {
	ours := plan.Transform{Source: ">", Destination: "orders.raw.{{partition(8)}}.>"}
	for name, transforms := range map[string][2]plan.Transform{"with none of before": {{}, ours}, "with none now": {ours, {}}} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			want := wanted()
			want.Transform = transforms[0]
			b.reconcile(t, want, owner)
			next := owner
			next.UID = "another"
			want.Transform = transforms[1]
			if _, err := b.js.Publish(t.Context(), want.Subjects[0][:len(want.Subjects[0])-1]+"x", nil); err != nil {
				t.Fatal(err)
			}
			if got := b.reconcile(t, want, next); got.Action != jetstream.ActionImmutable || len(got.Fields) != 1 || got.Fields[0].Name != "subject_transform" {
				t.Errorf("got %s (%s), want immutable: subject_transform", got.Action, got.Fields)
			}
			s, err := b.js.Stream(t.Context(), "RAW")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := b.reconcile(t, want, next); got.Action != jetstream.ActionUpdate {
				t.Errorf("empty: got %s (%s), want update", got.Action, got.Fields)
			}
		})
	}
}
