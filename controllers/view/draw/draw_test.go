package draw_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/draw"
	"millrace.dev/millrace/test/golden"
)

// graph runs `millrace graph`.
func graph(t *testing.T, args ...string) string {
	t.Helper()
	var b bytes.Buffer
	cmd := draw.Command()
	cmd.SetArgs(args)
	cmd.SetOut(&b)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return b.String()
}

// TestSamples draws samples in all formats.
func TestSamples(t *testing.T) {
	for _, sample := range []string{"observability", "everything", "join", "chained"} {
		for _, format := range []string{"ascii", "dot", "mermaid", "svg"} {
			got := graph(t, "-f", filepath.Join("../../../config/samples", sample+".yaml"), "--format", format)
			golden.Check(t, filepath.Join("testdata", sample+"."+format), got)
			if format == "svg" {
				wellFormed(t, got)
			}
			for line := range strings.SplitSeq(got, "\n") {
				if n := utf8.RuneCountInString(line); format == "ascii" && n > 100 {
					t.Errorf("%s: a line has %d columns: %s", sample, n, line)
				}
			}
		}
	}
}

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	title := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "title" {
			title = true
		}
	}
	if !title {
		t.Error("the picture has no title")
	}
}

// TestHostileNames: a graph that is read from NATS may have any names.
func TestHostileNames(t *testing.T) {
	evil := "a\"]; <script>&\\\n`"
	g := &view.Graph{
		Name: view.Name{Namespace: evil, Name: evil}, Stages: []view.Stage{{Name: evil, Kind: evil, Lanes: 1}},
		Edges: []view.Edge{{From: "ingress", To: evil, Stream: evil}, {From: evil, Port: evil, Stream: evil}},
	}
	for name, write := range map[string]func(io.Writer, *view.Graph) error{"dot": draw.Dot, "mermaid": draw.Mermaid, "svg": draw.SVG} {
		var b bytes.Buffer
		if err := write(&b, g); err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", "hostile."+name), b.String())
		if name == "svg" {
			wellFormed(t, b.String())
			if strings.Contains(b.String(), "<script") {
				t.Error("the picture has a script")
			}
		}
	}
}

// TestWideAndDeep: any graph is drawn in 100 columns, or listed.
func TestWideAndDeep(t *testing.T) {
	wide := &view.Graph{Name: view.Name{Namespace: "default", Name: "wide"}}
	deep := &view.Graph{Name: view.Name{Namespace: "default", Name: "deep"}}
	from := "ingress"
	for i := range 64 {
		name := "stage-" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		wide.Stages = append(wide.Stages, view.Stage{Name: name, Kind: "enrich", Lanes: 8})
		wide.Edges = append(wide.Edges, view.Edge{From: "ingress", To: name, Stream: "RAW"})
		deep.Stages = append(deep.Stages, view.Stage{Name: name, Kind: "enrich", Lanes: 8})
		deep.Edges = append(deep.Edges, view.Edge{From: from, Port: "out", To: name, Stream: "S"})
		from = name
	}
	for _, g := range []*view.Graph{wide, deep} {
		var b bytes.Buffer
		if err := draw.Text(&b, g); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(b.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > 100 {
				t.Errorf("%s: a line has %d columns: %s", g.Name.Name, n, line)
			}
		}
		if got := strings.Contains(b.String(), "wider than 100 columns"); got != (g == wide) {
			t.Errorf("%s: is it said to be too wide? %v", g.Name.Name, got)
		}
		if strings.Count(b.String(), "stage-axx") < 2 {
			t.Errorf("%s: a stage is missing:\n%s", g.Name.Name, b.String())
		}
	}
}
