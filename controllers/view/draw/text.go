package draw

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"millrace.dev/millrace/controllers/view"
)

// columns is how wide a text may be.
const columns = 100

// Text draws a graph with line characters, and lists all ports below it. A graph that is wider than 100 columns is not drawn; then its
// stages are listed.
func Text(w io.Writer, g *view.Graph) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d stages\n\n", g.Name, len(g.Stages))
	if drawn, ok := drawing(g); ok {
		b.WriteString(drawn)
	} else {
		b.WriteString("The graph is wider than 100 columns: --format svg or dot draws it.\n\n")
		stageTable(&b, g)
	}
	b.WriteString("\n")
	portTable(&b, g)
	for _, warning := range g.Warnings {
		fmt.Fprintf(&b, "\nwarning: %s\n", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// The lines of a cell, as bits.
const (
	up = 1 << iota
	down
	left
	right
)

// lines are the characters of all combinations of bits.
var lines = [16]rune{' ', '│', '│', '│', '─', '┘', '┐', '┤', '─', '└', '┌', '├', '─', '┴', '┬', '┼'}

// canvas is what is drawn.
type canvas struct {
	text [][]rune
	bits [][]uint8
}

func (c *canvas) grow(row, column int) {
	for len(c.text) <= row {
		c.text, c.bits = append(c.text, nil), append(c.bits, nil)
	}
	for len(c.text[row]) <= column {
		c.text[row], c.bits[row] = append(c.text[row], 0), append(c.bits[row], 0)
	}
}

func (c *canvas) line(row, column int, bits uint8) {
	c.grow(row, column)
	c.bits[row][column] |= bits
}

func (c *canvas) write(row, column int, text string) {
	for _, r := range text {
		c.grow(row, column)
		c.text[row][column] = r
		column++
	}
}

func (c *canvas) vertical(column, from, to int) {
	for row := from; row <= to; row++ {
		c.line(row, column, up|down)
	}
}

func (c *canvas) String() string {
	var b strings.Builder
	for row := range c.text {
		var line strings.Builder
		for column, r := range c.text[row] {
			if r == 0 {
				r = lines[c.bits[row][column]]
			}
			line.WriteRune(r)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// boxHeight is how many rows a node has.
const boxHeight = 4

// drawing draws the layers; ok is false when they are too wide.
func drawing(g *view.Graph) (drawn string, ok bool) {
	all := layersOf(g)
	for _, layer := range all {
		for _, n := range layer {
			n.measure()
		}
	}
	if all.position(2) > columns {
		return "", false
	}
	for _, layer := range all {
		for _, n := range layer {
			n.exits()
		}
	}
	c := &canvas{}
	row := 0
	for i, layer := range all {
		for _, n := range layer {
			if n.point() {
				c.vertical(n.x, row, row+boxHeight-1)
				continue
			}
			n.box(c, row)
		}
		row += boxHeight
		if i+1 < len(all) {
			row = all.connect(c, i, row)
		}
	}
	return c.String(), true
}

// texts are the two lines in the box of a node.
func (n *node) texts() (name, about string) {
	if n.stage == nil {
		return n.name, ""
	}
	about = n.stage.Kind
	switch {
	case n.stage.Head != "":
		about += " in " + n.stage.Head
	case n.stage.Lanes > 1:
		about += " x" + strconv.Itoa(n.stage.Lanes)
	}
	if n.stage.Suspended {
		about += " (suspended)"
	}
	return n.name, about
}

// measure says how wide a node is: its texts, and the names of its ports below it.
func (n *node) measure() {
	if n.point() {
		n.width = 1
		return
	}
	name, about := n.texts()
	n.width = max(utf8.RuneCountInString(name), utf8.RuneCountInString(about), 2*n.ins) + 4
	ports := 1
	for _, o := range n.outs {
		ports += 2 + utf8.RuneCountInString(o.label())
	}
	n.width = max(n.width, ports+1)
}

// label is the name of a port that is drawn; out goes without saying.
func (o *out) label() string {
	if o.port == "out" || o.port == "" {
		return ""
	}
	return o.port
}

// exits says where the ports leave a node.
func (n *node) exits() {
	if n.point() {
		n.outs[0].at = n.x
		return
	}
	if len(n.outs) == 1 {
		n.outs[0].at = n.x + n.width/2
		if label := len(n.outs[0].label()); label > n.width/2-2 {
			n.outs[0].at = n.x + 1
		}
		return
	}
	at := n.x + 1
	spare := n.width - 2
	for _, o := range n.outs {
		spare -= 2 + utf8.RuneCountInString(o.label())
	}
	step := max(spare, 0) / max(len(n.outs), 1)
	for _, o := range n.outs {
		at += step / 2
		o.at = at
		at += 2 + utf8.RuneCountInString(o.label()) + step - step/2
	}
}

func (n *node) box(c *canvas, row int) {
	last := n.x + n.width - 1
	for column := n.x; column <= last; column++ {
		for _, edge := range []int{row, row + boxHeight - 1} {
			bits := uint8(left | right)
			if column == n.x {
				bits = right
			}
			if column == last {
				bits = left
			}
			if column == n.x || column == last {
				if edge == row {
					bits |= down
				} else {
					bits |= up
				}
			}
			c.line(edge, column, bits)
		}
	}
	for r := row + 1; r < row+boxHeight-1; r++ {
		c.line(r, n.x, up|down)
		c.line(r, last, up|down)
	}
	name, about := n.texts()
	c.write(row+1, n.x+(n.width-utf8.RuneCountInString(name))/2, name)
	c.write(row+2, n.x+(n.width-utf8.RuneCountInString(about))/2, about)
	for _, o := range n.outs {
		c.line(row+boxHeight-1, o.at, down)
	}
}

// route is what leaves a port: down to a row, along it, and down to each target.
type route struct {
	*out
	ends     []int // where it goes on or arrives
	points   []bool
	lo, hi   int
	row      int
	straight bool
}

// connect draws the segments between a layer and the next one, from a row on. It returns the row of the next layer.
func (all layers) connect(c *canvas, i, row int) int {
	routes := all.routes(i)
	rows := assign(routes)
	labels := 0
	for _, r := range routes {
		if r.label() != "" && !r.from(all[i]).point() {
			labels = 1
			c.write(row, r.at+1, r.label())
		}
	}
	first := row + max(labels, 0)
	last := first + rows // the row of the arrows
	for _, r := range routes {
		turn := first + r.row
		if r.straight {
			turn = last
		}
		c.vertical(r.at, row, turn-1)
		if !r.straight {
			c.line(turn, r.at, up)
			for _, end := range r.ends {
				for column := min(r.at, end); column < max(r.at, end); column++ {
					c.line(turn, column, right)
					c.line(turn, column+1, left)
				}
				c.line(turn, end, down)
				c.vertical(end, turn+1, last-1)
			}
		}
		for k, end := range r.ends {
			if r.points[k] {
				c.vertical(end, last, last)
			} else {
				c.write(last, end, "▼")
			}
		}
	}
	return last + 1
}

func (r *route) from(layer []*node) *node {
	for _, n := range layer {
		if slices.Contains(n.outs, r.out) {
			return n
		}
	}
	return nil
}

// routes are what leaves the ports of a layer. Each target has a column of its own for each of its inputs, in the order of where
// these come from.
func (all layers) routes(i int) []*route {
	var routes []*route
	for _, n := range all[i] {
		for _, o := range n.outs {
			routes = append(routes, &route{out: o})
		}
	}
	used := map[int]bool{} // columns in which something leaves
	for _, r := range routes {
		used[r.at] = true
	}
	for _, to := range all[i+1] {
		var in []*route
		for _, r := range routes {
			if slices.Contains(r.to, to) {
				in = append(in, r)
			}
		}
		slices.SortStableFunc(in, func(a, b *route) int { return cmp.Compare(a.at, b.at) })
		for k, r := range in {
			r.ends, r.points = append(r.ends, entry(to, k, len(in), r.at, used)), append(r.points, to.point())
		}
	}
	for _, r := range routes {
		r.lo, r.hi = r.at, r.at
		for _, end := range r.ends {
			r.lo, r.hi = min(r.lo, end), max(r.hi, end)
		}
		r.straight = len(r.ends) == 1 && r.ends[0] == r.at
	}
	return routes
}

// entry is where the k-th of n inputs arrives at a node: straight below where it comes from if that is possible, and else in a column in which
// nothing leaves.
func entry(to *node, k, n, from int, used map[int]bool) int {
	if to.point() {
		return to.x
	}
	room := to.width - 2
	lo, hi := to.x+1+room*k/n, to.x+room*(k+1)/n
	if from >= lo && from <= hi {
		return from
	}
	middle := (lo + hi) / 2
	for d := range hi - lo + 1 {
		for _, at := range []int{middle + d, middle - d} {
			if at >= lo && at <= hi && !used[at] {
				return at
			}
		}
	}
	return middle
}

// assign gives each route that turns a row in which it meets no other. It returns how many rows there are.
func assign(routes []*route) (rows int) {
	sorted := slices.Clone(routes)
	slices.SortStableFunc(sorted, func(a, b *route) int { return cmp.Compare(a.lo, b.lo) })
	taken := [][]*route{}
	for _, r := range sorted {
		if r.straight || len(r.ends) == 0 {
			continue
		}
		row := 0
		for ; row < len(taken); row++ {
			if !slices.ContainsFunc(taken[row], func(o *route) bool { return o.lo <= r.hi+1 && r.lo <= o.hi+1 }) {
				break
			}
		}
		if row == len(taken) {
			taken = append(taken, nil)
		}
		taken[row] = append(taken[row], r)
		r.row = row
	}
	return len(taken)
}

// stageTable lists the stages with their layers.
func stageTable(b *strings.Builder, g *view.Graph) {
	rows := [][]string{{"LAYER", "STAGE", "KIND", "LANES", "READS"}}
	for layer, nodes := range layersOf(g) {
		for _, n := range nodes {
			if n.stage == nil {
				continue
			}
			var reads []string
			for _, e := range g.Edges {
				if e.To == n.name {
					reads = append(reads, portName(&e))
				}
			}
			rows = append(rows, []string{strconv.Itoa(layer), n.name, n.stage.Kind, strconv.Itoa(n.stage.Lanes), strings.Join(reads, ", ")})
		}
	}
	table(b, rows)
}

func portName(e *view.Edge) string {
	if e.Port == "" {
		return e.From
	}
	return e.From + "/" + e.Port
}

// portTable lists the ports, where they are stored and who reads them.
func portTable(b *strings.Builder, g *view.Graph) {
	rows := [][]string{{"PORT", "STREAM", "PARTITIONS", "READ BY"}}
	for i := 0; i < len(g.Edges); {
		e := &g.Edges[i]
		row := []string{portName(e), e.Stream, "", ""}
		if e.Stream == "" {
			row[1] = "(in memory)"
		}
		if e.Partitions > 0 {
			row[2] = strconv.Itoa(e.Partitions)
		}
		var readers []string
		for ; i < len(g.Edges) && portName(&g.Edges[i]) == row[0]; i++ {
			if to := g.Edges[i].To; to != "" {
				readers = append(readers, to)
			}
		}
		row[3] = strings.Join(readers, ", ")
		rows = append(rows, row)
	}
	table(b, rows)
}

// table writes rows in columns. What does not fit into the last one goes on below it.
func table(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	indent := 0
	for _, w := range widths[:len(widths)-1] {
		indent += w + 2
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row[:len(row)-1] {
			fmt.Fprintf(&line, "%-*s  ", widths[i], cell)
		}
		for k, part := range wrap(row[len(row)-1], max(columns-indent, 20)) {
			if k > 0 {
				line.WriteString("\n" + strings.Repeat(" ", indent))
			}
			line.WriteString(part)
		}
		for part := range strings.SplitSeq(line.String(), "\n") {
			b.WriteString(strings.TrimRight(part, " ") + "\n")
		}
	}
}

// wrap cuts a list at commas.
func wrap(list string, width int) []string {
	var parts []string
	for utf8.RuneCountInString(list) > width {
		at := strings.LastIndex(list[:min(width+1, len(list))], ", ")
		if at <= 0 {
			break
		}
		parts = append(parts, list[:at+1])
		list = list[at+2:]
	}
	return append(parts, list)
}
