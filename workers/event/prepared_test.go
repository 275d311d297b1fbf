package event

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// AppendPrepared must leave an event as AppendEncoded leaves it: its bytes, its view and what
// its getters find.
func TestPrepared(t *testing.T) {
	for name, added := range map[string]*eventv1.Event{
		"nothing":  {},
		"resource": {Resource: []*eventv1.KeyValue{{Key: "a", Value: &eventv1.KeyValue_StringValue{StringValue: "b"}}}},
		"impact":   {Impact: &eventv1.Impact{Score: 0.5}, Enrichment: []*eventv1.Enrichment{{By: "impact", Status: "ok"}}},
		"severity": {SeverityNumber: 17, SeverityText: "ERROR"},
		"entity":   {Entity: &eventv1.EntityRef{Uid: "uid"}},
		"signal":   {Signal: &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "m", Value: 1}}},
		"time":     {TimeUnixNano: 5},
		"count":    {Count: 7},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := proto.Marshal(added)
			if err != nil {
				t.Fatal(err)
			}
			prepared, err := Prepare(encoded)
			if err != nil {
				t.Fatal(err)
			}
			base := &eventv1.Event{Id: "1", Source: "s", Type: "t", SeverityNumber: 9, Entity: &eventv1.EntityRef{Kind: "Pod", Name: "p"}}
			var events [2]Event
			for i := range events {
				if events[i], err = FromProto(base, Origin{}); err != nil {
					t.Fatal(err)
				}
			}
			events[0].AppendEncoded(encoded)
			events[1].AppendPrepared(prepared)
			events[1].unshare()
			events[1].shared = [maxShared]*Prepared{}
			if diff := cmp.Diff(events[0], events[1], cmp.AllowUnexported(Event{})); diff != "" {
				t.Errorf("-AppendEncoded +AppendPrepared\n%s", diff)
			}
			got, err := events[1].ToProto()
			if err != nil {
				t.Fatal(err)
			}
			want := proto.Clone(base).(*eventv1.Event)
			proto.Merge(want, added)
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestPrepareMalformed(t *testing.T) {
	if _, err := Prepare([]byte{0x0a, 0x05, 'x'}); err == nil {
		t.Error("a field that is cut off: got no error")
	}
}
