package jetstream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config/connect"
)

// asUser is a client of an account with limits.
func asUser(t *testing.T, limits string) *jetstream.Client {
	t.Helper()
	server := harness.RunEmbeddedNATS(t, natsserver.Options{
		Config: fmt.Sprintf("accounts { A { jetstream: %s, users: [{user: u, password: p}] } }", limits),
	})
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	t.Cleanup(pool.Close)
	client, err := pool.Client(jetstream.Server{URL: server.URL(), Material: connect.Material{User: "u", Password: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestStreamsBeyondALimit: what the server refuses for want of room is explained with the setting, what was asked for
// and the limit.
func TestStreamsBeyondALimit(t *testing.T) {
	sized := func(name string, gi int64) plan.Stream {
		s := wanted()
		s.Name, s.Subjects, s.MaxBytes = name, []string{name + ".>"}, gi<<30
		return s
	}
	memory := func(s plan.Stream) plan.Stream {
		s.Memory = true
		return s
	}
	for name, c := range map[string]struct {
		limits  string
		streams []plan.Stream
		want    string // of the last one
	}{
		"stream and account": {
			"{max_file: 3GiB, max_mem: 32MiB, max_bytes_required: true, disk_max_stream_bytes: 1GiB}",
			[]plan.Stream{sized("A", 1), sized("B", 10)},
			"spec.streams.maxBytes is 10Gi, and the account allows file storage of 1Gi a stream and 3Gi in all, of which other streams have 1Gi: lower spec.streams.maxBytes, or raise the limits of the account",
		},
		"stream alone": {
			"{max_file: 30GiB, disk_max_stream_bytes: 1GiB}",
			[]plan.Stream{sized("A", 2)},
			"spec.streams.maxBytes is 2Gi, and the account allows file storage of 1Gi a stream and 30Gi in all",
		},
		"the sum of all": {
			"{max_file: 3GiB}",
			[]plan.Stream{sized("A", 2), sized("B", 2)},
			"spec.streams.maxBytes is 2Gi, and the account allows file storage of 3Gi in all, of which other streams have 2Gi",
		},
		"the sum with a stream that grows": {
			"{max_file: 3GiB}",
			[]plan.Stream{sized("A", 1), sized("B", 1), sized("B", 3)},
			"spec.streams.maxBytes is 3Gi, and the account allows file storage of 3Gi in all, of which other streams have 1Gi",
		},
		"memory": {
			"{max_file: 3GiB, max_mem: 32MiB}",
			[]plan.Stream{memory(sized("A", 1))},
			"spec.streams.maxBytes is 1Gi, and the account allows memory of 32Mi in all, of which other streams have 0",
		},
		"the server": {
			"enabled",
			[]plan.Stream{sized("A", 2048)},
			"spec.streams.maxBytes is 2Ti of file storage, and the server has less than that left (max_file_store, max_memory_store)",
		},
		"number of streams": {
			"{max_file: 3GiB, max_streams: 1}",
			[]plan.Stream{sized("A", 1), sized("B", 1)},
			"the account has 1 streams of at most 1: raise its limit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := asUser(t, c.limits)
			var err error
			for i, s := range c.streams {
				have, _ := client.Stream(s.Name)
				change := jetstream.CompareStream(s, owner, have)
				if have == nil {
					_, err = client.CreateStream(change.Config)
				} else {
					_, err = client.UpdateStream(have, change.Config)
				}
				err = client.ExplainStream(err, change, have)
				if i < len(c.streams)-1 && err != nil {
					t.Fatal(err)
				}
			}
			limit := (*jetstream.LimitError)(nil)
			if !errors.As(err, &limit) || !strings.Contains(limit.Says, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLeasesBeyondALimit(t *testing.T) {
	client := asUser(t, "{max_file: 1MiB}")
	change := jetstream.CompareLeases(plan.Leases{Bucket: "leases", Replicas: 1}, owner, nil)
	_, err := client.CreateStream(change.Config)
	err = client.ExplainStream(err, change, nil)
	const want = "the bucket of leases takes 16Mi, and the account allows file storage of 1Mi in all"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestConsumersBeyondALimit(t *testing.T) {
	client := asUser(t, "{max_file: 3GiB, max_consumers: 1}")
	if _, err := client.CreateStream(jetstream.StreamConfig(wanted(), owner)); err != nil {
		t.Fatal(err)
	}
	var err error
	for _, name := range []string{"first", "second"} {
		want := wantedConsumer()
		want.Durable = name
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.ApplyConsumer("RAW", jetstream.CompareConsumer(want, stageOwner, nil).Config)
	}
	err = client.ExplainConsumer(err)
	const want = "the account allows 1 consumers in a stream, and each lane of a stage needs one: raise the limit"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestOtherRefusalsStayAsTheyAre: only limits are explained.
func TestOtherRefusalsStayAsTheyAre(t *testing.T) {
	client := asUser(t, "enabled")
	refusal := errors.New("something else")
	if got := client.ExplainStream(refusal, jetstream.StreamChange{}, nil); got != refusal { //nolint:errorlint // the same one
		t.Errorf("got %v, want %v", got, refusal)
	}
	if got := client.ExplainConsumer(refusal); got != refusal { //nolint:errorlint // the same one
		t.Errorf("got %v, want %v", got, refusal)
	}
}
