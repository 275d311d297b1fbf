package view_test

import (
	"errors"
	"strings"
	"testing"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// TestRecorded: a server tells which pipelines there are by the metadata of its streams alone, as they are now.
func TestRecorded(t *testing.T) {
	server := harness.StartNATS(t, natsserver.Options{})
	js := harness.JetStream(t, server)
	source := view.NewRecorded(view.Server{URL: server.URL()})
	defer source.Close()
	record := func(stream, graph string) {
		t.Helper()
		if _, err := js.CreateOrUpdateStream(t.Context(), natsjs.StreamConfig{
			Name: stream, Subjects: []string{stream + ".>"}, Metadata: map[string]string{plan.MetadataGraph: graph},
		}); err != nil {
			t.Fatal(err)
		}
	}
	name := func(p *plan.Plan) view.Name { return view.Name{Namespace: p.Namespace, Name: p.Name} }
	minimal, joined := planOf(t, "minimal"), planOf(t, "join")
	if all, err := source.Pipelines(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("an empty server has %+v, %v", all, err)
	}
	if _, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "OTHERS", Subjects: []string{"others"}}); err != nil {
		t.Fatal(err)
	}
	record("A", minimal.Ingress.Graph)
	record("B", joined.Ingress.Graph)
	record("C", "none of ours")
	all, err := source.Pipelines(t.Context())
	if err != nil || len(all) != 3 || all[0].Ready || !strings.Contains(all[0].Message, "stream C") || all[1].Name != name(joined) || !all[1].Ready || all[1].Stages != len(joined.Stages) || all[2].Name != name(minimal) {
		t.Errorf("pipelines: %+v, %v", all, err)
	}
	for range 2 { // the second time it is known
		if l, err := source.Layout(t.Context(), name(minimal)); err != nil || len(l.Stages) != len(minimal.Stages) {
			t.Errorf("layout: %+v, %v", l, err)
		}
	}

	edited := *minimal
	edited.Stages = append(edited.Stages[:len(edited.Stages):len(edited.Stages)], joined.Stages[0])
	record("A", plan.EncodeGraph(&edited))
	if l, err := source.Layout(t.Context(), name(minimal)); err != nil || len(l.Stages) != len(minimal.Stages)+1 {
		t.Errorf("layout after an edit: %+v, %v", l, err)
	}
	record("A", "broken")
	if _, err := source.Layout(t.Context(), name(minimal)); err == nil || !strings.Contains(err.Error(), "stream A") {
		t.Errorf("a record that is broken: %v", err)
	}
	record("A", joined.Ingress.Graph)
	if _, err := source.Layout(t.Context(), name(minimal)); !errors.Is(err, view.ErrNotFound) || !strings.Contains(err.Error(), "stream C") {
		t.Errorf("a record that became that of another one: %v", err)
	}
	if _, err := source.Layout(t.Context(), name(joined)); !errors.Is(err, view.ErrInvalid) || !strings.Contains(err.Error(), "streams A and B") {
		t.Errorf("two of one name: %v", err)
	}
	if err := js.DeleteStream(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Layout(t.Context(), name(joined)); err != nil {
		t.Error(err)
	}
	if err := js.DeleteStream(t.Context(), "B"); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Layout(t.Context(), name(joined)); !errors.Is(err, view.ErrNotFound) {
		t.Errorf("after the stream was deleted: %v", err)
	}
	server.Stop()
	if _, err := source.Pipelines(t.Context()); err == nil {
		t.Error("a server that is gone has pipelines")
	}
}
