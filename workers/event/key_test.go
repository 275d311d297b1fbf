package event_test

import (
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/event"
)

func TestKey(t *testing.T) {
	pod := event.EntityRef{Kind: "Pod", Namespace: "shop", Name: "cart-1"}
	uid := pod
	uid.UID = "u-1"
	for name, c := range map[string]struct {
		event event.Event
		want  string
	}{
		"partition key":       {event.Event{PartitionKey: "k", Entity: uid, Subject: "s", Source: "/src"}, "k"},
		"entity uid":          {event.Event{Entity: uid, Subject: "s", Source: "/src"}, "u-1"},
		"entity name":         {event.Event{Entity: pod, Subject: "s", Source: "/src"}, "Pod/shop/cart-1"},
		"cluster-wide entity": {event.Event{Entity: event.EntityRef{Kind: "Node", Name: "n"}}, "Node//n"},
		"entity without name": {event.Event{Entity: event.EntityRef{Kind: "Pod", Namespace: "shop"}, Subject: "s"}, "s"},
		"subject":             {event.Event{Subject: "s", Source: "/src"}, "s"},
		"source":              {event.Event{Source: "/src"}, "/src"},
		"nothing":             {event.Event{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.event.Key(); got != c.want {
				t.Errorf("key %q, want %q", got, c.want)
			}
			for _, n := range []int{-1, 0, 1, 2, 7, 64, 1 << 20} {
				if got, want := c.event.PartitionOf(n), event.Partition(c.want, n); got != want {
					t.Errorf("partition of %d is %d, of its key %d", n, got, want)
				}
			}
		})
	}
}

func TestPartitionIsFNV1a(t *testing.T) {
	for _, key := range []string{"", "a", "Pod/shop/cart-1", strings.Repeat("key", 100)} {
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		for _, n := range []int{1, 2, 7, 64, 1000} {
			if got, want := event.Partition(key, n), int(h.Sum32())%n; got != want {
				t.Errorf("Partition(%q, %d) = %d, want %d", key, n, got, want)
			}
		}
	}
}

// TestPartitionAgreesWithNATS has a server map subjects with {{partition}} and compares.
func TestPartitionAgreesWithNATS(t *testing.T) {
	const partitions = 7
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	transform := fmt.Sprintf("out.{{partition(%d,1)}}.{{wildcard(1)}}", partitions)
	if err := s.GlobalAccount().AddMapping("in.*", transform); err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not come up")
	}
	c, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	sub, err := c.SubscribeSync("out.>")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for i := range 200 {
		key := fmt.Sprintf("Pod/namespace-%d/name-%d-ü", i%6, i)
		if err := c.Publish("in."+key, nil); err != nil {
			t.Fatal(err)
		}
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		partition := event.Partition(key, partitions)
		seen[partition] = true
		if want := fmt.Sprintf("out.%d.%s", partition, key); m.Subject != want {
			t.Fatalf("the server maps to %s, Partition to %s", m.Subject, want)
		}
	}
	if len(seen) != partitions {
		t.Errorf("200 keys reached %d of %d partitions", len(seen), partitions)
	}
}
