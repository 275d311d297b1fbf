package store_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	control "millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/test/harness/natsserver"
)

const messages = 3000

// filled is a stream of messages on subjects s.0 to s.2 in turn; message n has the text n.
func filled(t *testing.T) store.Stream {
	t.Helper()
	server, err := natsserver.StartEmbedded(t.Context(), natsserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return fill(t, server, messages, func(n int) []byte { return fmt.Append(nil, n) })
}

// natsServer is a server, embedded or not.
type natsServer interface {
	Connect(options ...nats.Option) (*nats.Conn, error)
	URL() string
}

// fill makes a stream of n messages, with a text of each number.
func fill(t *testing.T, server natsServer, n int, text func(n int) []byte) store.Stream {
	t.Helper()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	for n := range n {
		if _, err := js.PublishAsync(fmt.Sprintf("s.%d", (n+1)%3), text(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	pool := control.NewPool(control.PoolOptions{Patience: 10 * time.Second, Deaf: true})
	t.Cleanup(pool.Close)
	c, err := pool.Client(control.Server{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	return store.Stream{Client: c, Name: "S"}
}

func TestReads(t *testing.T) {
	s := filled(t)
	for name, c := range map[string]struct {
		r           store.Range
		n           int
		first, last uint64
	}{
		"all":                {store.Range{}, messages, 1, messages},
		"a subject":          {store.Range{Subject: "s.0"}, messages / 3, 3, messages},
		"from":               {store.Range{From: 2990}, 11, 2990, messages},
		"to":                 {store.Range{To: 10}, 10, 1, 10},
		"both, on a subject": {store.Range{Subject: "s.1", From: 5, To: 20}, 5, 7, 19},
		"small requests":     {store.Range{Batch: 7, From: 100, To: 200}, 101, 100, 200},
		"few bytes":          {store.Range{Bytes: 1, From: 100, To: 110}, 11, 100, 110},
		"nothing":            {store.Range{From: messages + 1}, 0, 0, 0},
		"before all":         {store.Range{Until: time.Now().Add(-time.Hour)}, 0, 0, 0},
		"behind all":         {store.Range{Since: time.Now().Add(time.Hour)}, 0, 0, 0},
		"since":              {store.Range{Since: time.Now().Add(-time.Hour)}, messages, 1, messages},
	} {
		t.Run(name, func(t *testing.T) {
			var got []uint64
			read := func(m *store.Message) error {
				if string(m.Data) != fmt.Sprint(m.Sequence) || m.Stored.IsZero() || m.Subject == "" {
					t.Errorf("got %+v", m)
				}
				got = append(got, m.Sequence)
				return nil
			}
			if err := s.Scan(t.Context(), c.r, read); err != nil {
				t.Fatal(err)
			}
			if len(got) != c.n || c.n > 0 && (got[0] != c.first || got[c.n-1] != c.last) {
				t.Errorf("scan: got %d messages: %v", len(got), got[:min(len(got), 5)])
			}
			got = nil
			if err := s.Backward(t.Context(), c.r, read); err != nil {
				t.Fatal(err)
			}
			if len(got) != c.n || c.n > 0 && (got[0] != c.last || got[c.n-1] != c.first) {
				t.Errorf("backward: got %d messages: %v", len(got), got[:min(len(got), 5)])
			}
		})
	}
}

// TestSearch: it finds what a look at each message finds, in few reads.
func TestSearch(t *testing.T) {
	s := filled(t)
	for range 200 {
		subject, from, border := rand.IntN(3), rand.Uint64N(messages)+1, rand.Uint64N(messages+10)
		want := max(border, from)
		for want <= messages && int(want%3) != subject {
			want++
		}
		reads := 0
		m, err := s.Search(t.Context(), fmt.Sprintf("s.%d", subject), from, messages, func(m *store.Message) bool {
			reads++
			return m.Sequence >= border
		})
		if err != nil {
			t.Fatal(err)
		}
		if (m == nil) != (want > messages) || m != nil && m.Sequence != want {
			t.Errorf("from %d for %d on s.%d: got %+v, want message %d", from, border, subject, m, want)
		}
		if reads > 30 {
			t.Errorf("%d reads", reads)
		}
	}
}

// TestBackwardHoldsLittle: large messages are read newest first, each once, and few of them are in memory at a time.
func TestBackwardHoldsLittle(t *testing.T) {
	const large, n, limit = 512 << 10, 120, 24 << 20
	server, err := natsserver.Start(t.Context(), natsserver.Options{}) // its memory is not looked at
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	s := fill(t, server, n, func(i int) []byte { return append(fmt.Append(nil, i, " "), make([]byte, large)...) })
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, next, most := heap(), n, uint64(0)
	err = s.Backward(t.Context(), store.Range{}, func(m *store.Message) error {
		if got, _, _ := strings.Cut(string(m.Data[:min(len(m.Data), 8)]), " "); got != fmt.Sprint(next) || m.Sequence != uint64(next) {
			t.Errorf("got message %d, %s, want %d", m.Sequence, got, next)
		}
		if next--; next%20 == 0 {
			most = max(most, heap())
		}
		return nil
	})
	if err != nil || next != 0 {
		t.Errorf("got %v, %d messages are missing", err, next)
	}
	if held := int64(most) - int64(before); held > limit {
		t.Errorf("held %d MiB of %d MiB, want %d at most", held>>20, n*large>>20, limit>>20)
	}
}
