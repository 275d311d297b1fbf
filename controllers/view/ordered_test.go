package view

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// storing is a stream RAW of events with these ids, one a message, and a tracer of the last one.
func storing(t *testing.T, ids ...string) func(id string) *tracer {
	t.Helper()
	server := harness.StartNATS(t, natsserver.Options{})
	js := harness.JetStream(t, server)
	if _, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "RAW", Subjects: []string{"raw.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		body := fmt.Sprintf(`{"id":%q,"source":"/s","type":"t"}`, id)
		if _, err := js.PublishAsync("raw.x", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	pool := NewPool("millrace-test")
	t.Cleanup(pool.Close)
	c, err := pool.Client(jetstream.Server{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	l := &Layout{Ingress: PortLayout{Port: PortIngress, Stream: "RAW", Subject: ">", Base: "raw"}}
	return func(id string) *tracer {
		return &tracer{
			layout: l, client: c, decoder: newDecoder(), options: TraceOptions{ID: id}, trace: &Trace{}, whole: map[string]bool{},
		}
	}
}

// TestOrderedIDs: those of counters are found in few reads, also where several senders count and are not in step.
func TestOrderedIDs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var ids []string
	for n := range 6000 {
		ids = append(ids, fmt.Sprint("order-", 990+n), fmt.Sprintf("pay-%08x", 1000+7*n), fmt.Sprintf("%032x", random.Uint64()))
	}
	for i := range ids { // they overtake each other
		k := min(i+random.IntN(8), len(ids)-1)
		ids[i], ids[k] = ids[k], ids[i]
	}
	trace := storing(t, ids...)
	all := uint64(len(ids))
	for _, id := range []string{"order-990", "order-999", "order-1000", "order-3777", "order-6989", fmt.Sprintf("pay-%08x", 1000), fmt.Sprintf("pay-%08x", 1000+7*5000)} {
		tr := trace(id)
		found, err := tr.ordered(t.Context(), store.Stream{Client: tr.client, Name: "RAW"}, 1, all, 100)
		if err != nil || len(found) != 1 || found[0].ID != id {
			t.Errorf("%s: %d found, %v", id, len(found), err)
		}
		if tr.trace.Read > 1200 {
			t.Errorf("%s: %d of %d messages read", id, tr.trace.Read, all)
		}
	}
	for _, id := range []string{"order-1", "order-99999", "invoice-7", "order", "7"} {
		tr := trace(id)
		if found, err := tr.ordered(t.Context(), store.Stream{Client: tr.client, Name: "RAW"}, 1, all, 100); err != nil || len(found) > 0 {
			t.Errorf("%s: %d found, %v", id, len(found), err)
		}
	}
	for _, at := range []int{0, 7000, len(ids) - 1} { // in no order: all is looked through then
		tr := trace(ids[at])
		s := store.Stream{Client: tr.client, Name: "RAW"}
		found, err := tr.ordered(t.Context(), s, 1, all, 100)
		if err == nil && len(found) == 0 {
			found, _, err = tr.scan(t.Context(), "RAW", time.Time{}, time.Time{}, false)
		}
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %d found, %v", ids[at], len(found), err)
		}
	}
}

func TestForms(t *testing.T) {
	for _, c := range []struct {
		id, other string
		fits      bool
		compared  int
	}{
		{"order-10", "order-9", true, 1},
		{"order-10", "order-010", true, 0},
		{"order-10", "pay-10", false, 0},
		{"order-10", "order-1x", false, 0},
		{"10", "9", true, 1},
		{"2abZ9", "2abZ8", true, 1},
		{"2abZ9", "2abZ", false, 0},
		{"abc", "abd", true, -1},
	} {
		f := formOf(c.id)
		if f.fits(c.other) != c.fits || !f.fits(c.id) {
			t.Errorf("%s fits to %s: %t", c.other, c.id, !c.fits)
		}
		if c.fits && f.compare(c.id, c.other) != c.compared {
			t.Errorf("%s and %s: %d, want %d", c.id, c.other, f.compare(c.id, c.other), c.compared)
		}
	}
}

// TestDuplicateIsFoundBefore: whether an event came before is looked for where the search did not look.
func TestDuplicateIsFoundBefore(t *testing.T) {
	trace := storing(t, "a", "b", "a", "c")
	s := &StageLayout{Name: "check", Dedupe: time.Hour}
	in := &InputLayout{From: PortIngress, Stream: "RAW"}
	ask := func(ctx context.Context, id string, seq uint64, dedupe time.Duration, source string) bool {
		t.Helper()
		tr := trace(id)
		m, err := store.Stream{Client: tr.client, Name: "RAW"}.Get(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		a := tr.event(&tr.layout.Ingress, m, 0)
		a.Source = source
		s.Dedupe = dedupe
		duplicate, err := tr.duplicate(ctx, s, in, a)
		if err != nil {
			t.Fatal(err)
		}
		return duplicate
	}
	for name, c := range map[string]struct {
		id     string
		seq    uint64
		dedupe time.Duration
		source string
		want   bool
	}{
		"again":             {"a", 3, time.Hour, "/s", true},
		"the first":         {"a", 1, time.Hour, "/s", false},
		"alone":             {"c", 4, time.Hour, "/s", false},
		"of another source": {"a", 3, time.Hour, "/other", false},
		"a stage without":   {"a", 3, 0, "/s", false},
	} {
		if got := ask(t.Context(), c.id, c.seq, c.dedupe, c.source); got != c.want {
			t.Errorf("%s: got %t, want %t", name, got, c.want)
		}
	}
}
