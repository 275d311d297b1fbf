package draw

import (
	"fmt"
	"html"
	"io"
	"strings"
	"unicode/utf8"

	"millrace.dev/millrace/controllers/view"
)

// Sizes of a picture, in its units.
const (
	letter    = 8 // the width of a letter
	nodeHigh  = 46
	layerHigh = 120
	nodeGap   = 36
	margin    = 24
)

const style = `svg{background:#fff;font:14px ui-sans-serif,system-ui,sans-serif}
.node{fill:#f4f6f8;stroke:#556270}.ingress{fill:none;stroke:none}
.edge{fill:none;stroke:#556270;stroke-width:1.5}.memory{stroke-dasharray:4 4}
.arrow{fill:#556270}.name{fill:#14191f;font-weight:600}.about,.label{fill:#45515e;font-size:12px}
@media (prefers-color-scheme:dark){svg{background:#14191f}.node{fill:#232b34;stroke:#94a3b3}.edge{stroke:#94a3b3}.arrow{fill:#94a3b3}.name{fill:#f4f6f8}.about,.label{fill:#b7c2cd}}
`

// SVG draws a graph as a picture that stands alone: it needs no font, script or network, and says in words what it shows.
func SVG(w io.Writer, g *view.Graph) error {
	all := layersOf(g)
	for _, layer := range all {
		for _, n := range layer {
			n.width = 2
			if !n.point() {
				name, about := n.texts()
				n.width = letter*max(utf8.RuneCountInString(name), utf8.RuneCountInString(about)) + 28
			}
		}
	}
	width, height := all.position(nodeGap)+2*margin, len(all)*layerHigh-layerHigh+nodeHigh+40+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n<style>%s</style>\n",
		html.EscapeString("Pipeline "+g.Name.String()), html.EscapeString(describe(g)), style)
	b.WriteString(`<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto"><path class="arrow" d="M0 0L10 5L0 10z"/></marker></defs>` + "\n")
	for i, layer := range all {
		for _, n := range layer {
			svgEdges(&b, n, i)
		}
	}
	for i, layer := range all {
		for _, n := range layer {
			if !n.point() {
				svgNode(&b, g, n, i)
			}
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (n *node) middle() int { return margin + n.x + n.width/2 }

func svgNode(b *strings.Builder, g *view.Graph, n *node, layer int) {
	top := margin + layer*layerHigh
	name, about := n.texts()
	class := "node"
	if n.stage == nil {
		class = "ingress"
	}
	fmt.Fprintf(b, `<g><rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="8"/>`, class, margin+n.x, top, n.width, nodeHigh)
	fmt.Fprintf(b, `<text class="name" x="%d" y="%d" text-anchor="middle">%s</text>`, n.middle(), top+20, html.EscapeString(name))
	if n.stage == nil {
		about = ""
		for _, e := range g.Edges {
			if e.From == view.PortIngress {
				about = e.Stream
			}
		}
	}
	fmt.Fprintf(b, `<text class="about" x="%d" y="%d" text-anchor="middle">%s</text>`, n.middle(), top+37, html.EscapeString(about))
	b.WriteString("</g>\n")
}

// svgEdges draws what leaves a node, with the name of the port.
func svgEdges(b *strings.Builder, n *node, layer int) {
	top := margin + layer*layerHigh
	bottom := top + nodeHigh
	if n.point() {
		fmt.Fprintf(b, `<path class="edge%s" d="M%d %dV%d"/>`+"\n", memoryClass(n.outs[0]), n.middle(), top, bottom)
	}
	for k, o := range n.outs {
		x := n.middle()
		if !n.point() {
			x = margin + n.x + n.width*(k+1)/(len(n.outs)+1)
		}
		for _, to := range o.to {
			arrow := ` marker-end="url(#arrow)"`
			if to.point() {
				arrow = ""
			}
			next := top + layerHigh
			fmt.Fprintf(b, `<path class="edge%s" d="M%d %dC%d %d %d %d %d %d"%s/>`+"\n", memoryClass(o), x, bottom, x, bottom+37, to.middle(), next-37, to.middle(), next, arrow)
		}
		if label := o.label(); label != "" && !n.point() {
			fmt.Fprintf(b, `<text class="label" x="%d" y="%d">%s</text>`+"\n", x+5, bottom+15, html.EscapeString(label))
		}
	}
}

func memoryClass(o *out) string {
	if o.memory {
		return " memory"
	}
	return ""
}

// describe says what a picture shows.
func describe(g *view.Graph) string {
	var all []string
	for i := range g.Edges {
		if e := &g.Edges[i]; e.To != "" {
			all = append(all, e.To+" reads "+portName(e))
		}
	}
	return strings.Join(all, "; ") + "."
}
