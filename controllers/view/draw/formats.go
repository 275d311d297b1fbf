package draw

import (
	"fmt"
	"io"
	"strings"

	"millrace.dev/millrace/controllers/view"
)

// Dot writes a graph for Graphviz. Stages that run in one worker stand in one frame.
func Dot(w io.Writer, g *view.Graph) error {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n", quote(g.Name.String()))
	fmt.Fprintf(&b, "  %s [shape=plain];\n", quote(view.PortIngress))
	for i := range g.Stages {
		s := &g.Stages[i]
		if s.Head != "" {
			continue
		}
		var chained []*view.Stage
		for k := range g.Stages {
			if g.Stages[k].Head == s.Name {
				chained = append(chained, &g.Stages[k])
			}
		}
		if len(chained) == 0 {
			dotStage(&b, "  ", s)
			continue
		}
		fmt.Fprintf(&b, "  subgraph %s {\n    label=%s;\n    style=dashed;\n", quote("cluster_"+s.Name), quote("workers of "+s.Name))
		for _, one := range append([]*view.Stage{s}, chained...) {
			dotStage(&b, "    ", one)
		}
		b.WriteString("  }\n")
	}
	for i := range g.Edges {
		e := &g.Edges[i]
		label := e.Stream
		if named := (&out{port: e.Port}).label(); named != "" {
			label = strings.TrimSuffix(named+"\n"+e.Stream, "\n")
		}
		style := ""
		if e.Stream == "" {
			style = ", style=dashed"
		}
		to := e.To
		if to == "" { // the streams that nobody reads
			to = "stream " + e.Stream
			fmt.Fprintf(&b, "  %s [shape=cylinder, label=%s];\n", quote(to), quote(e.Stream))
			label = (&out{port: e.Port}).label()
		}
		fmt.Fprintf(&b, "  %s -> %s [label=%s%s];\n", quote(e.From), quote(to), quote(label), style)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func dotStage(b *strings.Builder, indent string, s *view.Stage) {
	fmt.Fprintf(b, "%s%s [label=%s];\n", indent, quote(s.Name), quote(s.Name+"\n"+aboutStage(s)))
}

// aboutStage is the kind of a stage, its lanes, and whether it is suspended.
func aboutStage(s *view.Stage) string {
	_, about := (&node{name: s.Name, stage: s}).texts()
	return about
}

// quote writes a string of DOT.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", "").Replace(text) + `"`
}

// Mermaid writes a flowchart for Mermaid, as Markdown on GitHub and GitLab shows it.
func Mermaid(w io.Writer, g *view.Graph) error {
	var b strings.Builder
	b.WriteString("flowchart TB\n")
	ids := map[string]string{view.PortIngress: "ingress"}
	fmt.Fprintf(&b, "  ingress([%s])\n", entity("ingress"))
	for i := range g.Stages {
		s := &g.Stages[i]
		ids[s.Name] = fmt.Sprintf("s%d", i)
		fmt.Fprintf(&b, "  %s[%s]\n", ids[s.Name], entity(s.Name+"<br>"+aboutStage(s), "<br>"))
	}
	streams := map[string]string{}
	for i := range g.Edges {
		e := &g.Edges[i]
		label := e.Stream
		if named := (&out{port: e.Port}).label(); named != "" {
			label = strings.TrimPrefix(named+": "+e.Stream, ": ")
			if e.Stream == "" {
				label = named
			}
		}
		to, arrow := ids[e.To], "-->"
		if e.Stream == "" {
			arrow = "-.->"
		}
		if e.To == "" {
			if streams[e.Stream] == "" {
				streams[e.Stream] = fmt.Sprintf("d%d", len(streams))
				fmt.Fprintf(&b, "  %s[(%s)]\n", streams[e.Stream], entity(e.Stream))
			}
			to, label = streams[e.Stream], (&out{port: e.Port}).label()
		}
		if label != "" {
			arrow += "|" + entity(label) + "|"
		}
		fmt.Fprintf(&b, "  %s %s %s\n", ids[e.From], arrow, to)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// entity writes a string of Mermaid. Tags that are kept are those of the label itself.
func entity(text string, kept ...string) string {
	const mark = "\x00"
	for _, tag := range kept {
		text = strings.ReplaceAll(text, tag, mark)
	}
	text = strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "&", "#amp;", "\n", " ", "\r", "").Replace(text)
	for _, tag := range kept {
		text = strings.ReplaceAll(text, mark, tag)
	}
	return `"` + text + `"`
}
