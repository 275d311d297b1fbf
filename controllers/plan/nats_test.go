package plan_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
)

// TestServerTakesPlans makes what a plan says on a real server: names, subjects, filters and
// windows that the planner lets through are never refused there. A message published to each
// output reaches exactly the consumers that read it.
func TestServerTakesPlans(t *testing.T) {
	inputs := map[string]plan.Input{}
	samples, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range samples {
		if filepath.Base(sample) != "kustomization.yaml" {
			inputs[filepath.Base(sample)] = read(t, sample)
		}
	}
	stage := strings.Repeat("s", 42)
	inputs["longest names, shortest windows"] = input(t, `
partitions: 1
subjectPrefix: `+strings.Repeat("p", 128)+`
streams: {maxAge: 1m, maxBytes: 1Mi, storage: Memory}
stages:
- {name: `+stage+`, from: [ingress], correlate: {window: {}}}
- {name: reader, from: [`+stage+`, `+stage+`/dead-letter, `+stage+`/insights], output: {stream: `+strings.Repeat("O", 128)+`}, validate: {}}
`, nil)
	inputs["partitions at the ingress"] = input(t, `
partitions: 3
ingress: {partitionBy: Subject}
stages:
- {name: a, from: [ingress], validate: {}}
- {name: b, from: [a], placement: {with: a}, enrich: {trace: {}}}
- {name: c, from: [a, ingress], validate: {dedupe: {}}}
- {name: d, from: [b, ingress, c/dead-letter], correlate: {window: {}}}
`, nil)
	long := inputs["longest names, shortest windows"]
	long.Pipeline.Name = strings.Repeat("p", 20)
	long.Pipeline.Namespace = strings.Repeat("n", 63)
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			p, errs := plan.Compute(in)
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			server := harness.RunEmbeddedNATS(t, natsserver.Options{})
			conn, err := nats.Connect(server.URL())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			js, err := jetstream.New(conn)
			if err != nil {
				t.Fatal(err)
			}
			build(t, js, p)
			probe(t, js, p)
		})
	}
}

func build(t *testing.T, js jetstream.JetStream, p *plan.Plan) {
	t.Helper()
	for _, s := range p.Streams {
		storage := jetstream.FileStorage
		if s.Memory {
			storage = jetstream.MemoryStorage
		}
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: s.Name, Subjects: s.Subjects, Storage: storage, Replicas: s.Replicas, Discard: jetstream.DiscardNew,
			AllowDirect: true, AllowAtomicPublish: true,
			SubjectTransform: transform(s),
			// The disk of a test machine is smaller than that of a cluster.
			MaxAge: s.MaxAge, MaxBytes: min(s.MaxBytes, 1<<20), Duplicates: s.DuplicateWindow,
		})
		if err != nil {
			t.Fatalf("stream %s: %v", s.Name, err)
		}
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: p.Leases.Bucket, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatalf("leases %s: %v", p.Leases.Bucket, err)
	}
	for _, s := range p.Stages {
		for _, c := range s.Consumers {
			_, err := js.CreateConsumer(t.Context(), c.Stream, jetstream.ConsumerConfig{
				Durable: c.Durable, FilterSubject: c.FilterSubject, AckWait: c.AckWait, MaxAckPending: c.MaxAckPending,
				AckPolicy: jetstream.AckAllPolicy,
			})
			if err != nil {
				t.Fatalf("consumer %s of %s: %v", c.Durable, c.Stream, err)
			}
		}
	}
}

func transform(s plan.Stream) *jetstream.SubjectTransformConfig {
	if s.Transform == (plan.Transform{}) {
		return nil
	}
	return &jetstream.SubjectTransformConfig{Source: s.Transform.Source, Destination: s.Transform.Destination}
}

// TestServerGivesPartitions publishes at an ingress with partitions by subject, on the bare subject and on many below it: each message
// is read in the lane of its subject and in no other one, in the order of its subject. It is stored where config.StoredSubject says, and
// its subject is known.
func TestServerGivesPartitions(t *testing.T) {
	p, errs := plan.Compute(input(t, `{partitions: 4, ingress: {partitionBy: Subject}, stages: [{name: a, from: [ingress], validate: {}}]}`, nil))
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	conn, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	build(t, js, p)
	subjects := []string{"default.p.raw", "default.p.raw.3.x"}
	for i := range 30 {
		subjects = append(subjects, fmt.Sprintf("default.p.raw.host.%d", i))
	}
	const each = 3
	for n := range each {
		for _, subject := range subjects {
			if _, err := js.Publish(t.Context(), subject, []byte(strconv.Itoa(n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := p.Stages[0]
	seen, busy := map[string]int{}, 0
	for lane, c := range s.Consumers {
		consumer, err := js.Consumer(t.Context(), c.Stream, c.Durable)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := consumer.Fetch(each*len(subjects), jetstream.FetchMaxWait(300*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for m := range batch.Messages() {
			got++
			published := s.Config.Inputs[0].Published(m.Subject())
			if !strings.HasPrefix(m.Subject(), fmt.Sprintf("default.p.raw.%d.", lane)) {
				t.Errorf("lane %d reads %s", lane, m.Subject())
			}
			if want := config.StoredSubject(p.Ingress.Transform.Destination, published); m.Subject() != want {
				t.Errorf("a message of %s is stored on %s, want %s", published, m.Subject(), want)
			}
			if n := strconv.Itoa(seen[published]); string(m.Data()) != n {
				t.Errorf("%s: message %s comes as number %s", published, m.Data(), n)
			}
			seen[published]++
		}
		if got > 0 {
			busy++
		}
	}
	for _, subject := range subjects {
		if seen[subject] != each {
			t.Errorf("%d messages of %s are read, want %d", seen[subject], subject, each)
		}
	}
	if busy < 4 {
		t.Errorf("%d lanes have something to do, want all", busy)
	}
}

// probe publishes one message where each port publishes, and on the bare subject of the ingress, and counts what each
// consumer has.
func probe(t *testing.T, js jetstream.JetStream, p *plan.Plan) {
	t.Helper()
	subjects := map[string]string{"ingress": strings.TrimSuffix(p.Ingress.Subjects[0], ">") + "x.y"}
	for _, s := range p.Stages {
		for port, out := range s.Config.Outputs {
			suffix := ".0"
			switch {
			case port == "insights":
				suffix = "." + s.Name + ".warn.0"
			case out.Repartition:
				suffix = ".0.0"
			}
			subjects[s.Name+"/"+port] = out.Subject + suffix
		}
	}
	for port, subject := range subjects {
		if _, err := js.Publish(t.Context(), subject, []byte(port)); err != nil {
			t.Errorf("port %s cannot publish on %s: %v", port, subject, err)
		}
	}
	if _, err := js.Publish(t.Context(), strings.TrimSuffix(p.Ingress.Subjects[0], ".>"), []byte("ingress")); err != nil {
		t.Errorf("the bare subject of the ingress is stored nowhere: %v", err)
	}
	for _, s := range p.Stages {
		if s.Head != "" {
			continue // takes events in memory
		}
		for i, in := range s.Config.Inputs {
			lanes := s.Consumers[i*s.Lanes : (i+1)*s.Lanes]
			if in.From != "ingress" {
				lanes = lanes[:1] // what stages would publish is in lane 0
			}
			var got []string
			for _, c := range lanes {
				consumer, err := js.Consumer(t.Context(), c.Stream, c.Durable)
				if err != nil {
					t.Fatal(err)
				}
				batch, err := consumer.Fetch(10, jetstream.FetchMaxWait(300*time.Millisecond))
				if err != nil {
					t.Fatal(err)
				}
				for m := range batch.Messages() {
					got = append(got, string(m.Data()))
				}
			}
			want := []string{in.From}
			if in.From == "ingress" {
				want = []string{"ingress", "ingress"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("stage %s reads %v through %s, want %v", s.Name, got, in.Durable, want)
			}
		}
	}
}
