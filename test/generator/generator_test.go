package generator

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"millrace.dev/millrace/workers/enrich"
	"millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

var end = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func options() Options {
	return Options{Seed: 1, Events: MinEvents, Invalid: 40, Undecodable: 20, Duplicates: 60, End: end}
}

// shared is the story that most tests read; none changes it.
var shared = sync.OnceValues(func() (*Story, error) { return Generate(options()) })

func story(t *testing.T) *Story {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func generate(t *testing.T, o Options) *Story {
	t.Helper()
	s, err := Generate(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSameSeedSameBytes(t *testing.T) {
	a, b := story(t), generate(t, options())
	if !bytes.Equal(bytes.Join(a.Lines, []byte("\n")), bytes.Join(b.Lines, []byte("\n"))) {
		t.Error("the same seed gives other lines")
	}
	if !bytes.Equal(a.Snapshot, b.Snapshot) {
		t.Error("the same seed gives another cluster")
	}
	if diff := cmp.Diff(a.Truth, b.Truth); diff != "" {
		t.Errorf("the same seed gives another truth:\n%s", diff)
	}
	other := options()
	other.Seed = 2
	if c := generate(t, other); bytes.Equal(a.Lines[0], c.Lines[0]) {
		t.Error("another seed begins with the same line")
	}
}

// tally counts the lines as a pipeline does that wants id, source and type and drops what
// it has seen.
type tally struct {
	counts Counts
	types  map[string]int
	byID   map[string]event.Event
}

func count(t *testing.T, s *Story) tally {
	t.Helper()
	got := tally{Counts{Lines: len(s.Lines)}, map[string]int{}, map[string]event.Event{}}
	d := decode.New(decode.Limits{})
	for i, line := range s.Lines {
		if bytes.ContainsAny(line, "\n\r") {
			t.Fatalf("line %d has a line break", i)
		}
		events, bad := d.Decode(nil, decode.Message{Data: line})
		switch {
		case len(bad) == 1 && len(events) == 0:
			got.counts.Undecodable++
		case len(bad) != 0 || len(events) != 1:
			t.Fatalf("line %d gives %d events and %d failures", i, len(events), len(bad))
		case events[0].ID == "" || events[0].Source == "" || events[0].Type == "":
			got.counts.Invalid++
		case got.byID[events[0].ID].ID != "":
			got.counts.Duplicates++
		default:
			got.counts.Valid++
			got.types[events[0].Type]++
			got.byID[events[0].ID] = events[0]
		}
	}
	return got
}

func TestCountsAreTrue(t *testing.T) {
	for name, o := range map[string]Options{
		"mixed": options(),
		"clean": {Seed: 3, Events: MinEvents, End: end},
		"odd":   {Seed: 4, Events: MinEvents + 1, Invalid: 7, Undecodable: 3, Duplicates: MinEvents + 1, End: end},
	} {
		t.Run(name, func(t *testing.T) {
			s := generate(t, o)
			got := count(t, s)
			want := Counts{
				Lines: o.Events + o.Invalid + o.Undecodable + o.Duplicates,
				Valid: o.Events, Invalid: o.Invalid, Undecodable: o.Undecodable, Duplicates: o.Duplicates,
			}
			if diff := cmp.Diff(want, s.Truth.Counts); diff != "" {
				t.Errorf("truth (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, got.counts); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(s.Truth.Types, got.types); diff != "" {
				t.Errorf("types (-truth +lines):\n%s", diff)
			}
		})
	}
}

func TestTimesAreInOrderAndInTheStory(t *testing.T) {
	s := generate(t, Options{Seed: 5, Events: MinEvents, End: end})
	var last int64
	for i, line := range s.Lines {
		events, _ := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: line})
		at := events[0].Time
		if at < last || at < end.Add(-Length).UnixNano() || at > end.UnixNano() {
			t.Fatalf("line %d is of %s", i, time.Unix(0, at).UTC())
		}
		last = at
	}
}

// TestFormsSayTheSame: every form of an event decodes to the event that was meant.
func TestFormsSayTheSame(t *testing.T) {
	s := &script{o: options(), r: testRand(), start: end.Add(-Length)}
	s.cluster = newCluster(s.start)
	s.incidents()
	s.o.Events = len(s.events) + 2000
	s.background(s.o.Events)
	for _, want := range s.events {
		forms := map[string][]byte{"structured": structured(want), "native": native(want)}
		if want.GetType() == "app.log" {
			forms["aliased"] = aliased(want)
		}
		for form, line := range forms {
			events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: line})
			if len(bad) > 0 {
				t.Fatalf("%s: %v\n%s", form, bad[0].Err, line)
			}
			got, err := events[0].ToProto()
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(want, got) {
				t.Fatalf("%s: %s\n%s", form, line, cmp.Diff(want, got, protocmp.Transform()))
			}
		}
	}
}

func TestIncidents(t *testing.T) {
	s := story(t)
	lines := count(t, s)
	member := map[string]string{}
	var kinds []string
	for _, in := range s.Truth.Incidents {
		kinds = append(kinds, in.Kind)
		if len(in.Events) < 3 || !slices.Contains(in.Events, in.RootEvent) {
			t.Errorf("%s: %d events, root event %q", in.Kind, len(in.Events), in.RootEvent)
		}
		for _, id := range in.Events {
			e, ok := lines.byID[id]
			if !ok || member[id] != "" {
				t.Fatalf("%s: event %s is not among the lines or is in two incidents", in.Kind, id)
			}
			member[id] = in.Kind
			if at := time.Unix(0, e.Time); at.Before(in.Start) || at.After(in.End) {
				t.Errorf("%s: event %s is of %s", in.Kind, id, at.UTC())
			}
		}
		root := lines.byID[in.RootEvent]
		if in.Kind != "oom" && root.Entity.UID != in.Root.UID {
			t.Errorf("%s: the root event is about %v, the root is %v", in.Kind, root.Entity, in.Root)
		}
	}
	want := []string{"node-not-ready", "oom", "image-pull", "config-crash-loop", "unschedulable", "latency-spike"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("incidents (-want +got):\n%s", diff)
	}
	// What only happens in incidents does not happen elsewhere.
	for id, e := range lines.byID {
		if (strings.HasPrefix(e.Type, "k8s.pod.") || strings.HasPrefix(e.Type, "k8s.node.") || strings.HasPrefix(e.Type, "k8s.deployment.")) && member[id] == "" {
			t.Errorf("%s %s is in no incident", e.Type, id)
		}
	}
}

// TestLeakRises: the memory of the pods that are killed rises before, steadily.
func TestLeakRises(t *testing.T) {
	s := story(t)
	values := map[string][]float64{}
	for _, line := range s.Lines {
		events, _ := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: line})
		if len(events) == 0 || events[0].ID == "" {
			continue
		}
		e := events[0]
		if m, ok := e.Metric(); ok && e.Time < end.Add(-Length).Add(oomKills*time.Second).UnixNano() {
			name := e.Subject + "/" + m.Name
			values[name] = append(values[name], m.Value)
		}
	}
	for _, in := range s.Truth.Incidents {
		for _, name := range in.Series {
			v := values[name]
			if len(v) < 25 {
				t.Fatalf("series %s has %d values before the kills", name, len(v))
			}
			if in.Kind == "oom" && v[len(v)-1] < 1.7*v[0] {
				t.Errorf("series %s goes from %g to %g", name, v[0], v[len(v)-1])
			}
		}
	}
}

func TestClusterIsSound(t *testing.T) {
	c := newCluster(end)
	if len(c.nodes) != 20 || len(c.workloads) != 25 || len(c.pods) != 500 || len(c.namespaces) != 6 {
		t.Errorf("%d nodes, %d workloads, %d pods, %d namespaces; want 20, 25, 500, 6", len(c.nodes), len(c.workloads), len(c.pods), len(c.namespaces))
	}
	s := story(t)
	var list struct {
		Kind  string
		Items []struct {
			Kind     string
			Metadata struct {
				Namespace, Name, UID string
				OwnerReferences      []struct{ Kind, Name, UID string }
			}
			Status struct{ PodIP string }
		}
	}
	if err := json.Unmarshal(s.Snapshot, &list); err != nil {
		t.Fatal(err)
	}
	uids, ips := map[string]string{}, map[string]bool{}
	for _, o := range list.Items {
		name := o.Kind + "/" + o.Metadata.Namespace + "/" + o.Metadata.Name
		if other := uids[o.Metadata.UID]; other != "" || o.Metadata.UID == "" {
			t.Errorf("%s has the uid of %s", name, other)
		}
		uids[o.Metadata.UID] = name
		if ip := o.Status.PodIP; ip != "" {
			if ips[ip] {
				t.Errorf("%s has the ip of another pod", name)
			}
			ips[ip] = true
		}
	}
	for _, o := range list.Items {
		for _, owner := range o.Metadata.OwnerReferences {
			if got, want := uids[owner.UID], owner.Kind+"/"+o.Metadata.Namespace+"/"+owner.Name; got != want {
				t.Errorf("%s is owned by %s, which is %q", o.Metadata.Name, want, got)
			}
		}
	}
	if got := len(slices.Collect(maps.Keys(uids))); list.Kind != "List" || got < 600 {
		t.Errorf("%s of %d objects", list.Kind, got)
	}
}

// TestEnricherKnowsTheCluster: the snapshot has what the Kubernetes enricher looks up.
func TestEnricherKnowsTheCluster(t *testing.T) {
	s := story(t)
	file := filepath.Join(t.TempDir(), SnapshotFile)
	if err := os.WriteFile(file, s.Snapshot, 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := kubernetes.LoadSnapshot(file)
	if err != nil {
		t.Fatal(err)
	}
	settings := enrich.SourceSettings{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return end }}
	if err := source.Start(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for id, e := range count(t, s).byID {
		if e.Entity.Kind != "Pod" {
			continue
		}
		asked++
		facts, status := source.Find(enrich.Query{Kind: "Pod", Namespace: e.Entity.Namespace, Name: e.Entity.Name, UID: e.Entity.UID, At: e.Time})
		if facts == nil || facts.Workload.Name == "" || facts.Criticality == "" {
			t.Fatalf("event %s (%s) about %v: no workload or criticality, status %s", id, e.Type, e.Entity, status)
		}
	}
	if asked < 3000 {
		t.Errorf("only %d events about pods", asked)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"events is 10: at least 6000":  {Events: 10, End: end},
		"none is negative":             {Events: MinEvents, Invalid: -1, End: end},
		"end is not set":               {Events: MinEvents},
		"at most one for each of 6000": {Events: MinEvents, Duplicates: MinEvents + 1, End: end},
	} {
		if _, err := Generate(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestWrite(t *testing.T) {
	s := story(t)
	dir := filepath.Join(t.TempDir(), "new", "folder")
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	events, err := os.ReadFile(filepath.Join(dir, EventsFile))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(events, []byte("\n")); n != s.Truth.Counts.Lines {
		t.Errorf("%d lines, want %d", n, s.Truth.Counts.Lines)
	}
	var truth Truth
	b, err := os.ReadFile(filepath.Join(dir, TruthFile))
	if err == nil {
		err = json.Unmarshal(b, &truth)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Truth, truth); diff != "" {
		t.Errorf("truth (-made +read):\n%s", diff)
	}
}
