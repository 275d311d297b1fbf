package view_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/controllers/view"
)

func planOf(t *testing.T, sample string) *plan.Plan {
	t.Helper()
	plans, err := manifest.Plans(t.Context(), strings.NewReader(""), []string{filepath.Join("../../config/samples", sample+".yaml")}, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(plans) != 1 {
		t.Fatalf("%s: got %d plans", sample, len(plans))
	}
	return plans[0]
}

// TestLayoutNamesAllThatIsPlanned: of every sample each stream, consumer and stored output is in the layout.
func TestLayoutNamesAllThatIsPlanned(t *testing.T) {
	for _, sample := range []string{"observability", "chained", "everything", "join", "routed", "minimal"} {
		p := planOf(t, sample)
		l := view.LayoutOf(p)
		if len(l.Streams) != len(p.Streams) || l.Streams[0] != p.Ingress.Name || l.Streams[len(l.Streams)-1] != l.DeadLetters {
			t.Errorf("%s: streams are %v", sample, l.Streams)
		}
		for i := range p.Stages {
			s := &p.Stages[i]
			var got, want []string
			for _, in := range l.Stages[i].Inputs {
				for _, c := range in.Consumers {
					got = append(got, in.Stream+" "+c.Durable+" "+c.Filter)
				}
			}
			for _, c := range s.Consumers {
				want = append(want, c.Stream+" "+c.Durable+" "+c.FilterSubject)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, stage %s: consumers (-want +got):\n%s", sample, s.Name, diff)
			}
			for name, out := range s.Config.Outputs {
				port, err := l.Port(s.Name, name)
				if err != nil {
					t.Errorf("%s: %v", sample, err)
					continue
				}
				if port.Stream != out.Stream || port.Subject != out.Stored(s.Name) || port.String() != s.Name+"/"+name {
					t.Errorf("%s: port %s is %+v, but the plan has %+v", sample, port, port, out)
				}
			}
		}
	}
}

// TestPortsInMemory: what is read in the same worker alone is a port without a stream.
func TestPortsInMemory(t *testing.T) {
	l := view.LayoutOf(planOf(t, "chained"))
	port, err := l.Port("validate", "")
	if err != nil || port.Port != "out" || port.Stream != "" {
		t.Errorf("got %+v, %v: want port out of validate without a stream", port, err)
	}
	for _, unknown := range [][2]string{{"nobody", "out"}, {"validate", "sideways"}} {
		if _, err := l.Port(unknown[0], unknown[1]); !errors.Is(err, view.ErrNotFound) {
			t.Errorf("%v: got %v, want %v", unknown, err, view.ErrNotFound)
		}
	}
}

// TestRecordedGraph: what the metadata of a stream say of a pipeline is all that readers need, in a bounded text.
func TestRecordedGraph(t *testing.T) {
	for _, sample := range []string{"observability", "chained", "everything", "join", "routed", "minimal"} {
		p := planOf(t, sample)
		got, err := plan.DecodeGraph(p.Ingress.Graph)
		if err != nil {
			t.Errorf("%s: %v", sample, err)
			continue
		}
		want := view.LayoutOf(p)
		want.Warnings, want.Leases.Replicas, want.Leases.Memory = nil, 0, false
		for i := range want.Stages {
			want.Stages[i].Replicas = 0 // it changes with each scaling
		}
		if diff := cmp.Diff(want, view.LayoutOf(got)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", sample, diff)
		}
		if p.Streams[0].Graph != p.Ingress.Graph || p.Streams[1].Graph != "" {
			t.Errorf("%s: the graph is not that of the ingress alone", sample)
		}
	}
}

// TestRecordedGraphIsBounded: one with all stages that there may be fits, and one that does not fit is left out.
func TestRecordedGraphIsBounded(t *testing.T) {
	p := *planOf(t, "everything")
	one := p.Stages
	for n := 0; len(p.Stages) < 64+plan.MaxAttached; n++ {
		for _, s := range one {
			s.Name = fmt.Sprintf("%s-%d", s.Name, n)
			p.Stages = append(p.Stages, s)
		}
	}
	text := plan.EncodeGraph(&p)
	if got, err := plan.DecodeGraph(text); err != nil || len(got.Stages) != len(p.Stages) {
		t.Errorf("%d bytes: %v", len(text), err)
	}
	t.Logf("%d stages take %d bytes", len(p.Stages), len(text))
	noise := make([]byte, 128<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	p.Name = hex.EncodeToString(noise)
	if text := plan.EncodeGraph(&p); text != "" {
		t.Errorf("a graph that compresses badly takes %d bytes", len(text))
	}
	for name, text := range map[string]string{"empty": "", "no base64": "%", "no zlib": "aGVsbG8=", "too long": strings.Repeat("A", 1<<20), "no graph": encoded(t, "[]"), "another version": encoded(t, `{"version":2}`), "nothing in it": encoded(t, `{"version":1}`)} {
		if p, err := plan.DecodeGraph(text); err == nil {
			t.Errorf("%s: got %+v", name, p)
		}
	}
	if text := encoded(t, strings.Repeat(" ", 5<<20)); len(text) > 64<<10 {
		t.Errorf("the bomb has %d bytes", len(text))
	} else if _, err := plan.DecodeGraph(text); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a bomb: %v", err)
	}
	if a, b := encoded(t, "{}"), encoded(t, "{} "); plan.SameGraph(a, b) || plan.SameGraph(a, "") || !plan.SameGraph(a, stored(t, "{}")) {
		t.Error("graphs are not told apart by what they hold alone")
	}
}

// encoded is a text as a recorded graph has it, and stored the same without compression.
func encoded(t *testing.T, text string) string { return packed(t, text, zlib.BestCompression) }
func stored(t *testing.T, text string) string  { return packed(t, text, zlib.NoCompression) }

func packed(t *testing.T, text string, level int) string {
	t.Helper()
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, level)
	if err == nil {
		_, err = z.Write([]byte(text))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}
