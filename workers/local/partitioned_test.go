package local

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// TestLanesAtTheIngress publishes on many subjects of an ingress with partitions: the lanes share the work, every event is stored once in the
// partition of its key, those of one subject in their order, and a dead letter names the subject that it was published on.
func TestLanesAtTheIngress(t *testing.T) {
	t.Parallel()
	s := newSetting(t, pipeline("partitions: 4", "ingress: {partitionBy: Subject}", `stages:
  - {name: validate, from: [ingress], validate: {requiredAttributes: [id], dedupe: {window: 2m}}}
  - {name: correlate, from: [validate], correlate: {realtime: {}, window: {size: 5s}}}
  - {name: analyze, from: [validate], analyze: {trend: {}}}`), "").serve(nil)
	const hosts, each, keys = 20, 50, 7
	publish := func(subject, body string) {
		t.Helper()
		if _, err := s.js.Publish(t.Context(), subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	subjects := []string{"events.raw"}
	for h := range hosts {
		subjects = append(subjects, fmt.Sprintf("events.raw.host.%d", h))
	}
	for n := range each {
		for h, subject := range subjects {
			publish(subject, fmt.Sprintf(`{"id":"%d.%d","source":"/t","type":"app.log","partitionkey":"key-%d"}`, h, n, (h+n)%keys))
		}
	}
	publish("events.raw.host.3", "no event {")
	again := `{"id":"4.0","source":"/t","type":"app.log","partitionkey":"key-4"}`
	publish(subjects[4], again)
	lane := func(subject string) string {
		return strings.Split(config.StoredSubject(s.plan.Ingress.Transform.Destination, subject), ".")[2]
	}
	other := slices.IndexFunc(subjects, func(subject string) bool { return lane(subject) != lane(subjects[4]) })
	publish(subjects[other], again) // nobody there knows the id
	got := s.run(Options{Listen: "somewhere", For: 2 * time.Second})
	want := int64(len(subjects) * each)
	if v := got.Stages["validate"]; got.err != nil || got.Lost != 0 || got.Duplicated != 0 || v.DeadLettered != 1 || v.Duplicates != 1 || v.Out != want+1 {
		t.Fatalf("%v, %d lost, %d duplicated, validate %+v\n%s", got.err, got.Lost, got.Duplicated, v, got.stdout)
	}
	if n := got.Stages["correlate"].In; n != got.Stages["validate"].Out || got.Stages["analyze"].In != n {
		t.Errorf("correlate has taken in %d events and analyze %d of %d", n, got.Stages["analyze"].In, got.Stages["validate"].Out)
	}

	counts, last, lanes := map[string]int{}, map[string]int{}, map[string]bool{}
	for _, m := range s.stored("DEFAULT_P_VALIDATE") {
		place := strings.Split(m.Subject(), ".") // events.validate.<partition>.<lane>
		lanes[place[3]] = true
		events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		if len(bad) > 0 {
			t.Fatal(bad[0].Err)
		}
		for i := range events {
			e := &events[i]
			var host, n int
			if _, err := fmt.Sscanf(e.ID, "%d.%d", &host, &n); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprint(event.Partition(e.PartitionKey, 4)); place[2] != want {
				t.Errorf("event %s of %s is on %s, want partition %s", e.ID, e.PartitionKey, m.Subject(), want)
			}
			if counts[e.ID]++; counts[e.ID] > 1 {
				continue // the one of another subject
			}
			at := fmt.Sprint(host, " in ", place[2])
			if before, ok := last[at]; ok && n < before {
				t.Errorf("event %s comes behind number %d", e.ID, before)
			}
			last[at] = n
		}
	}
	if int64(len(counts)) != want || len(lanes) != 4 {
		t.Errorf("%d events are stored, want %d; by %d lanes, want 4", len(counts), want, len(lanes))
	}
	counts["4.0"]-- // once for each of two subjects
	for id, n := range counts {
		if n != 1 {
			t.Errorf("event %s is stored %d times", id, n)
		}
	}
	var from []string
	for _, m := range s.stored("DEFAULT_P_DEAD_LETTERS") {
		from = append(from, m.Headers().Get("Millrace-Subject"))
	}
	if diff := cmp.Diff([]string{"events.raw.host.3"}, from); diff != "" {
		t.Errorf("subjects of dead letters (-want +got)\n%s", diff)
	}
}

// stored returns all messages of a stream.
func (s *served) stored(stream string) (all []jetstream.Msg) {
	s.t.Helper()
	err := scan(s.t.Context(), s.js, place{stream: stream, filter: ">"}, 0, false, func(m jetstream.Msg) error {
		all = append(all, m)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}
