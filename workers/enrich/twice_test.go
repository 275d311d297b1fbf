package enrich_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// TestSecondStageReplaces: what a stage found stands in place of what the event said or a stage before found.
func TestSecondStageReplaces(t *testing.T) {
	s := start(t, all(), snapshot())
	said := proto.CloneOf(goldenEvents()["oom-killed"])
	said.Impact = &eventv1.Impact{Score: 0.9, Criticality: "critical", Reasons: []string{"said by the sender"}}
	said.Semantic = &eventv1.Semantic{Class: "said", Category: "by the sender", Confidence: 0.1}
	plain := s.process(t, goldenEvents()["oom-killed"])[0]
	for name, in := range map[string]*eventv1.Event{"of the sender": said, "of a stage before": plain} {
		got := s.process(t, in)[0]
		if diff := cmp.Diff(plain.GetImpact(), got.GetImpact(), protocmp.Transform()); diff != "" {
			t.Errorf("impact %s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(plain.GetSemantic(), got.GetSemantic(), protocmp.Transform()); diff != "" {
			t.Errorf("semantic %s (-want +got):\n%s", name, diff)
		}
	}
	quiet := proto.CloneOf(said)
	quiet.Type, quiet.SeverityNumber = "app.log", 9
	if got := s.process(t, quiet)[0].GetImpact(); got.GetScore() != 0 || len(got.GetReasons()) != 0 {
		t.Errorf("impact of an event of severity INFO: got %v, want no score and no reasons", got)
	}
}

// TestOwnReferenceIsCompleted: what the event says of its entity stays.
func TestOwnReferenceIsCompleted(t *testing.T) {
	s := start(t, all(), snapshot())
	in := &eventv1.Event{
		Id: "1", Type: "k8s.event", TimeUnixNano: uint64(noon.UnixNano()),
		Entity: &eventv1.EntityRef{Kind: "Deployment", Namespace: "shop", Name: "checkout", ApiVersion: "apps/v1beta1"},
	}
	got := s.process(t, in)[0]
	if status := statuses(got)["kubernetes"]; status != "ok" {
		t.Fatalf("kubernetes: got %s, want ok", status)
	}
	if e := got.GetEntity(); e.GetApiVersion() != "apps/v1beta1" || e.GetUid() != "deployment-checkout-uid" {
		t.Errorf("entity: got %v, want its own apiVersion kept, and the uid", e)
	}
}

func frameOf(events []event.Event) []byte {
	w := frame.Writer{Hints: true}
	w.Begin(frame.Header{})
	for i := range events {
		w.Add(&events[i])
	}
	return w.AppendTo(nil)
}

// TestSecondStageSeesWhatTheFirstAdded: of the events of one source some have the context of a stage before and some
// do not. Whichever come first, each has the context once in the end.
func TestSecondStageSeesWhatTheFirstAdded(t *testing.T) {
	c := &config.Enrich{Kubernetes: &config.EnrichKubernetes{}}
	first, second := start(t, c, snapshot()), start(t, c, snapshot())
	in := goldenEvents()["oom-killed"]
	in.Resource = []*eventv1.KeyValue{text("host.name", "a-long-host-name-so-that-a-lead-is-worth-it")}
	encoded, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	header := map[string][]string{"Content-Type": {event.ContentTypeFrame}}
	work := func(s *started, events []event.Event) {
		t.Helper()
		b := &stage.Batch{Events: events}
		b.Reset(1)
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	led := func() []event.Event { // those of a source that is known
		var w frame.Writer
		w.Begin(frame.Header{})
		for range 4 {
			w.AddEncoded(encoded, 1)
		}
		events, _ := decode.New(decode.Limits{Lift: true}).Decode(nil, decode.Message{Data: w.AppendTo(nil), Header: header, Time: 7})
		return events[2:]
	}
	plain, enriched := frameOf(led()), led()
	work(first, enriched)
	with := frameOf(enriched)
	for name, order := range map[string][][]byte{"enriched first": {with, plain}, "plain first": {plain, with}} {
		d := decode.New(decode.Limits{Hints: true})
		for _, block := range order {
			events, bad := d.Decode(nil, decode.Message{Data: block, Header: header})
			if len(bad) > 0 {
				t.Fatal(bad[0].Err)
			}
			work(second, events)
			m, err := events[1].ToProto()
			if err != nil {
				t.Fatal(err)
			}
			n := map[string]int{}
			for _, kv := range m.GetResource() {
				n[kv.GetKey()]++
			}
			if n["k8s.node.name"] != 1 || n["k8s.pod.name"] != 1 || len(m.GetRelated()) != 4 {
				t.Errorf("%s: got the node %d times, the pod %d times and %d references, want 1, 1 and 4", name, n["k8s.node.name"], n["k8s.pod.name"], len(m.GetRelated()))
			}
		}
	}
}
