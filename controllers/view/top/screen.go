package top

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/cli"
)

// sorts are the columns that s goes through; the first one is the order of the graph.
var sorts = []struct {
	name string
	by   func(a, b *row) int
}{
	{"graph", func(a, b *row) int { return cmp.Compare(a.place, b.place) }},
	{"name", func(a, b *row) int { return strings.Compare(a.name, b.name) }},
	{"in/s", func(a, b *row) int { return cmp.Compare(nan(b.in), nan(a.in)) }},
	{"lag", func(a, b *row) int { return cmp.Compare(nan(b.lag), nan(a.lag)) }},
	{"oldest", func(a, b *row) int { return cmp.Compare(nan(b.oldest), nan(a.oldest)) }},
	{"p99", func(a, b *row) int { return cmp.Compare(nan(b.p99), nan(a.p99)) }},
	{"dead/s", func(a, b *row) int { return cmp.Compare(nan(b.dead), nan(a.dead)) }},
	{"health", func(a, b *row) int { return cmp.Compare(severity(b.health), severity(a.health)) }},
}

func severity(health string) int {
	return slices.Index([]string{view.HealthOK, view.HealthUnknown, view.HealthSlow, view.HealthFailing, view.HealthStuck}, health)
}

// lagsKept is of how many readings the lag of a stage is drawn.
const lagsKept = 60

// screen is what is shown: readings and keys go in, lines come out.
type screen struct {
	of       view.Name
	graph    *view.Graph
	flow     *view.Flow
	lags     map[string][]float64
	sort     int
	reversed bool
	paused   bool
	selected string // name of a stage
	drilled  bool
	tapped   string // the port whose events are shown, instead of the stages; empty = none
	seen     seen   // of it
	shown    string // the port that it is of
	top      int    // the first row that is seen
	quit     bool
}

func newScreen(of view.Name) *screen { return &screen{of: of, lags: map[string][]float64{}} }

// read takes a reading.
func (s *screen) read(g *view.Graph, f *view.Flow) {
	if s.paused {
		return
	}
	s.graph, s.flow = g, f
	names := map[string]bool{}
	for _, r := range rowsOf(g, f) {
		names[r.name] = true
		s.lags[r.name] = append(s.lags[r.name], zero(r.lag))
		if n := len(s.lags[r.name]); n > lagsKept {
			s.lags[r.name] = s.lags[r.name][n-lagsKept:]
		}
	}
	for name := range s.lags {
		if !names[name] {
			delete(s.lags, name)
		}
	}
	if !names[s.selected] {
		s.selected, s.drilled, s.tapped = "", false, ""
	}
}

// The keys.
const (
	keyUp    = "\x1b[A"
	keyDown  = "\x1b[B"
	keyEnter = "\r"
	keyEsc   = "\x1b"
	ctrlC    = "\x03"
)

// key takes a key.
func (s *screen) key(key string) {
	switch key {
	case "q", ctrlC, "\x04":
		s.quit = true
	case keyUp, "k":
		s.move(-1)
	case keyDown, "j":
		s.move(1)
	case "g":
		s.move(-len(s.lags))
	case "G":
		s.move(len(s.lags))
	case "t", "\t":
		if s.selected != "" || s.move(0) {
			s.tap()
		}
	case keyEnter, "\n", "l", "\x1b[C":
		s.drilled = s.tapped == "" && (s.selected != "" || s.move(0))
	case keyEsc, "b", "h", "\x1b[D", "\x7f":
		s.drilled = s.drilled && s.tapped != ""
		s.tapped = ""
	case "s":
		s.sort = (s.sort + 1) % len(sorts)
	case "S":
		s.sort = (s.sort + len(sorts) - 1) % len(sorts)
	case "r":
		s.reversed = !s.reversed
	case "p", " ":
		s.paused = !s.paused
	}
}

// rows are the stages in the order that is chosen.
func (s *screen) rows() []row {
	if s.graph == nil {
		return nil
	}
	rows := rowsOf(s.graph, s.flow)
	slices.SortStableFunc(rows, func(a, b row) int {
		if s.reversed {
			return sorts[s.sort].by(&b, &a)
		}
		return sorts[s.sort].by(&a, &b)
	})
	return rows
}

// move selects another row; false when there is none.
func (s *screen) move(by int) bool {
	rows := s.rows()
	if len(rows) == 0 {
		return false
	}
	at := slices.IndexFunc(rows, func(r row) bool { return r.name == s.selected })
	if at < 0 {
		at = 0
		by = min(by, 0)
	}
	s.selected = rows[min(max(at+by, 0), len(rows)-1)].name
	if s.tapped != "" && !slices.Contains(s.ports(), s.tapped) {
		s.tap()
	}
	return true
}

// A line of the screen, and how it looks.
type line struct {
	text    string
	color   cli.Color
	reverse bool
	bold    bool
}

// lines are what is shown on a screen of this size.
func (s *screen) lines(width, height int) []line {
	all := []line{{text: s.title(), bold: true}}
	if s.graph == nil {
		all = append(all, line{}, line{text: "waiting for the first reading"})
		return s.frame(all, nil, width, height)
	}
	for _, p := range s.flow.Problems {
		if len(all) > 4 {
			break
		}
		all = append(all, line{text: "! " + cli.Safe(p), color: cli.Yellow})
	}
	if s.tapped != "" {
		all = append(all, line{})
		return s.frame(all, s.tapLines(height-len(all)-2), width, height)
	}
	if s.drilled {
		return s.frame(append(all, line{}), s.stage(), width, height)
	}
	rows := s.rows()
	cells := [][]string{append([]string{}, headers...)}
	for i := range rows {
		cells = append(cells, rows[i].cells())
	}
	table := columns(cells, 2)
	all = append(all, line{}, line{text: table[0], bold: true})
	var body []line
	for i := range rows {
		body = append(body, line{text: table[i+1], color: color(rows[i].health), reverse: rows[i].name == s.selected})
	}
	room := max(height-len(all)-2, 0) // for why, and the keys
	at := max(slices.IndexFunc(rows, func(r row) bool { return r.name == s.selected }), 0)
	s.top = min(max(min(s.top, at), at-room+1, 0), max(len(rows)-room, 0))
	if len(body) > room {
		first := min(s.top, len(body))
		body = body[first:min(first+max(room, 0), len(body))]
	}
	return s.frame(all, body, width, height)
}

// frame puts the line of keys, and why the selected stage is as it is, at the bottom.
func (s *screen) frame(head, body []line, width, height int) []line {
	all := slices.Concat(head, body)
	why := line{}
	if s.graph != nil && !s.drilled && s.tapped == "" {
		for _, r := range s.rows() {
			if r.why != "" && (r.name == s.selected || s.selected == "" && r.health != view.HealthOK) {
				why = line{text: r.name + ": " + cli.Safe(r.why), color: color(r.health)}
				break
			}
		}
	}
	keys := "↑↓ choose  Enter ports  t tap  s sort (" + sorts[s.sort].name + ")  r reverse  p pause  q quit"
	switch {
	case s.tapped != "":
		keys = "Esc back  t other port  ↑↓ other stage  p pause  q quit"
	case s.drilled:
		keys = "Esc back  t tap  ↑↓ other stage  p pause  q quit"
	}
	if len(all) > height-2 {
		all = all[:max(height-2, 0)]
	}
	for len(all) < height-2 {
		all = append(all, line{})
	}
	all = append(all, why, line{text: keys, color: cli.Faint})
	all = all[max(len(all)-height, 0):]
	for i := range all {
		if r := []rune(all[i].text); len(r) > width {
			all[i].text = string(r[:max(width-1, 0)]) + "…"
		}
	}
	return all
}

func (s *screen) title() string {
	if s.graph == nil {
		return "millrace top " + s.of.String()
	}
	bad := map[string]int{}
	for i := range s.flow.Stages {
		bad[s.flow.Stages[i].Health]++
	}
	var health []string
	for _, h := range []string{view.HealthStuck, view.HealthFailing, view.HealthSlow, view.HealthUnknown, view.HealthOK} {
		if bad[h] > 0 {
			health = append(health, strconv.Itoa(bad[h])+" "+h)
		}
	}
	in := unknown
	if len(s.flow.Edges) > 0 {
		in = number(s.flow.Edges[0].Events)
	}
	title := fmt.Sprintf("%s  %s  %s events/s in  %s", s.of, s.flow.At.Local().Format(time.TimeOnly), rate(in), strings.Join(health, ", "))
	if s.paused {
		title += "  PAUSED"
	}
	return title
}

// stage shows one stage with its ports.
func (s *screen) stage() []line {
	rows := s.rows()
	at := slices.IndexFunc(rows, func(r row) bool { return r.name == s.selected })
	if at < 0 {
		return nil
	}
	r := &rows[at]
	node, flow := &s.graph.Stages[r.place], &s.flow.Stages[r.place]
	about := fmt.Sprintf("%s  %s  %d lanes  workers %s", node.Name, node.Kind, node.Lanes, r.workers)
	if node.Head != "" {
		about += "  in the workers of " + node.Head
	}
	if node.Stateful {
		about += "  stateful"
	}
	all := []line{
		{text: about, bold: true},
		{text: strings.TrimSuffix(r.health+": "+cli.Safe(r.why), ": "), color: color(r.health)},
		{text: fmt.Sprintf("latency p50 %s, p99 %s; processed %s events/s; dead letters %s/s", duration(r.p50), duration(r.p99), rate(number(flow.Processed)), rate(r.dead))},
		{text: "lag " + spark(s.lags[r.name]) + " " + whole(r.lag)},
		{},
	}
	cells := [][]string{{"", "PORT", "STREAM", "EVENTS/S", "LAG", "OLDEST", "MESSAGES", "BYTES", "READ BY"}}
	for _, reads := range []bool{true, false} {
		for i := range s.graph.Edges {
			e, f := &s.graph.Edges[i], &s.flow.Edges[i]
			name, way := e.From+"/"+e.Port, "out"
			if e.Port == "" {
				name = e.From
			}
			switch {
			case reads && e.To == node.Name:
				way = "in"
			case reads || e.From != node.Name:
				continue
			}
			messages := "-"
			if f.PortMessages != nil {
				messages = whole(float64(*f.PortMessages))
			}
			stream := e.Stream
			if stream == "" {
				stream = "(in memory)"
			}
			cells = append(cells, []string{way, name, stream, rate(number(f.Events)), whole(count(f.Lag)), duration(seconds(f.OldestAge)), messages, bytes(f.Bytes), e.To})
		}
	}
	for i, text := range columns(cells, 3) {
		all = append(all, line{text: text, bold: i == 0})
	}
	return all
}

// spark draws numbers as a line of blocks, up to the highest one.
func spark(all []float64) string {
	highest := 0.0
	for _, v := range all {
		highest = max(highest, v)
	}
	var b strings.Builder
	for _, v := range all {
		block := 0
		if highest > 0 {
			block = int(v / highest * 7)
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[block])
	}
	return b.String()
}
