package pipelinetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/local"
)

// Failure is an expectation that was not met.
type Failure struct {
	File string `json:"file"`
	Line int    `json:"line"`
	// Path is the field of the test file; Message says what is wrong, and Details, lines of text, what came instead.
	Path    string   `json:"path"`
	Message string   `json:"message"`
	Details []string `json:"details,omitempty"`
}

// port is what a port carries.
type port struct {
	events []local.Carried
	views  []view
}

// observer compares what ports carry at a moment with what is expected.
type observer struct {
	suite    *Suite
	trial    *local.Trial
	env      *cel.Env
	ports    map[string]*port
	failures []Failure
}

func (o *observer) fail(path, message string, details ...string) {
	p := o.suite.object.Problem(path, message)
	o.failures = append(o.failures, Failure{File: p.File, Line: p.Line, Path: path, Message: message, Details: details})
}

// read returns what a port carries now.
func (o *observer) read(ctx context.Context, name string) (*port, error) {
	name = config.PortName(name)
	if p := o.ports[name]; p != nil {
		return p, nil
	}
	stageName, portName, _ := strings.Cut(name, "/")
	events, err := o.trial.Read(ctx, stageName, portName)
	if err != nil {
		return nil, err
	}
	p := &port{events: events}
	for _, e := range events {
		v, err := viewOf(e.JSON)
		if err != nil {
			return nil, err
		}
		p.views = append(p.views, v)
	}
	o.ports[name] = p
	return p, nil
}

func (o *observer) expectations(ctx context.Context, all []Expectation, path string) error {
	for i := range all {
		if err := o.expectation(ctx, &all[i], fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

func (o *observer) expectation(ctx context.Context, e *Expectation, path string) error {
	p, err := o.read(ctx, e.Port)
	if err != nil {
		return err
	}
	o.counts(e, p, path)
	described := make([]bool, len(p.views)) // by events, insights or reasons
	if err := o.events(ctx, e, p, path, described); err != nil {
		return err
	}
	o.insights(e, p, path, described)
	o.reasons(e, p, path, described)
	if err := o.conditions(e, p, path); err != nil {
		return err
	}
	if e.NothingElse {
		o.nothingElse(e, p, path, described)
	}
	return nil
}

// counts compares the number of events.
func (o *observer) counts(e *Expectation, p *port, path string) {
	n := len(p.events)
	for _, c := range []struct {
		name, want string
		bound      *int
		holds      func(bound int) bool
	}{
		{"count", "%d", e.Count, func(b int) bool { return n == b }},
		{"atLeast", "at least %d", e.AtLeast, func(b int) bool { return n >= b }},
		{"atMost", "%d at most", e.AtMost, func(b int) bool { return n <= b }},
	} {
		if c.bound != nil && !c.holds(*c.bound) {
			want := fmt.Sprintf(c.want, *c.bound)
			o.fail(path+"."+c.name, fmt.Sprintf("%s carries %s, want %s", e.Port, events(n), want), p.list(nil)...)
		}
	}
}

// listed is how many events a failure shows.
const listed = 5

// list names the events of a port that are not described.
func (p *port) list(described []bool) (lines []string) {
	left := 0
	for i, v := range p.views {
		if i < len(described) && described[i] {
			continue
		}
		if left++; left <= listed {
			lines = append(lines, "  "+v.short())
		}
	}
	if left > listed {
		lines = append(lines, fmt.Sprintf("  and %d more", left-listed))
	}
	return lines
}

// short is an event in one line.
func (v view) short() string {
	parts := []string{v.name()}
	for _, member := range []string{"type", "reason", "error", "body"} {
		if t, ok := v[member].(string); ok && t != "" {
			parts = append(parts, member+" "+text(t))
		}
	}
	if in, ok := v["insight"].(map[string]any); ok {
		parts = append(parts, describe(insightOf(v, in)))
	}
	return strings.Join(parts, ", ")
}

func events(n int) string {
	switch n {
	case 0:
		return "no event"
	case 1:
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

// events finds the events that are described.
func (o *observer) events(ctx context.Context, e *Expectation, p *port, path string, described []bool) error {
	wants, name, exact := e.Events, "events", false
	if len(e.Exactly) > 0 {
		wants, name, exact = e.Exactly, "exactly", true
	}
	all := make([][]*comparison, len(wants))
	for w := range wants {
		for _, v := range p.views {
			all[w] = append(all[w], compare(wants[w], v, exact))
		}
	}
	of := assign(len(wants), len(p.views), e.InOrder, func(w, v int) bool { return all[w][v].equal() })
	for _, at := range of {
		if at >= 0 {
			described[at] = true
		}
	}
	for w, at := range of {
		if at >= 0 {
			continue
		}
		details := nearest(all[w], p, described, name, of)
		elsewhere, err := o.elsewhere(ctx, wants[w]["id"], p)
		if err != nil {
			return err
		}
		o.fail(fmt.Sprintf("%s.%s[%d]", path, name, w), e.Port+" carries no event like this", append(details, elsewhere...)...)
	}
	return nil
}

// elsewhere says which ports carry an event with an id that a port does not carry.
func (o *observer) elsewhere(ctx context.Context, id any, not *port) ([]string, error) {
	has := func(p *port) bool {
		return slices.ContainsFunc(p.views, func(v view) bool {
			return v["id"] == id || v["reason"] != nil && strings.Contains(str(v["original"]), text(id))
		})
	}
	if str(id) == "" || has(not) {
		return nil, nil
	}
	var ports []string
	for _, name := range o.trial.Ports() {
		p, err := o.read(ctx, name)
		if err != nil {
			return nil, err
		}
		if has(p) {
			ports = append(ports, name)
		}
	}
	if len(ports) == 0 {
		return []string{"no port carries an event with the id " + text(id)}, nil
	}
	return []string{text(id) + " is on " + strings.Join(ports, ", ")}, nil
}

// nearest shows the event that is most like a description, field by field.
func nearest(all []*comparison, p *port, described []bool, name string, of []int) []string {
	best := -1
	for i, c := range all {
		switch {
		case best < 0, described[best] && !described[i], described[best] == described[i] && c.nearer(all[best]):
			best = i
		}
	}
	if best < 0 {
		return []string{"the port carries nothing"}
	}
	for i, c := range all {
		if taker := slices.Index(of, i); c.equal() && taker >= 0 {
			return []string{fmt.Sprintf("%s is like this, but %s[%d] describes it already: each entry takes another event", p.views[i].name(), name, taker)}
		} else if c.equal() {
			return []string{p.views[i].name() + " is like this, but out of order"}
		}
	}
	c := all[best]
	if len(c.same) == 0 {
		return append([]string{"nothing of it is on any event there; the port carries"}, p.list(nil)...)
	}
	lines := []string{fmt.Sprintf("the nearest of %s there is %s:", events(len(all)), p.views[best].name())}
	for _, s := range c.same {
		lines = append(lines, "    "+s.path+": "+text(s.want))
	}
	for _, d := range c.differences {
		lines = append(lines, "  - "+d.path+": "+text(d.want), "  + "+d.path+": "+text(d.got))
	}
	return append(lines, "  (- is what the test wants, + what the port carries)")
}

// conditions evaluates CEL conditions.
func (o *observer) conditions(e *Expectation, p *port, path string) error {
	for _, list := range []struct {
		name        string
		expressions []string
	}{{"each", e.Each}, {"some", e.Some}, {"none", e.None}} {
		for k, expression := range list.expressions {
			condition, err := o.env.Condition(expression)
			if err != nil {
				return err
			}
			o.condition(e, p, fmt.Sprintf("%s.%s[%d]", path, list.name, k), list.name, expression, &condition)
		}
	}
	return nil
}

func (o *observer) condition(e *Expectation, p *port, path, name, expression string, condition *cel.Condition) {
	var holding, failing []string
	for i, c := range p.events {
		holds, err := condition.Holds(c.Event)
		line := "  " + p.views[i].short()
		switch {
		case err != nil:
			failing = append(failing, line+": "+err.Error())
		case holds:
			holding = append(holding, line)
		default:
			failing = append(failing, line)
		}
	}
	switch {
	case name == "each" && len(failing) > 0:
		o.fail(path, fmt.Sprintf("%s does not hold for %d of %s on %s", expression, len(failing), events(len(p.events)), e.Port), cut(failing)...)
	case name == "each" && len(p.events) == 0:
		o.fail(path, fmt.Sprintf("%s carries no event that %s could hold for", e.Port, expression))
	case name == "some" && len(holding) == 0:
		o.fail(path, fmt.Sprintf("%s holds for none of %s on %s", expression, events(len(p.events)), e.Port), cut(failing)...)
	case name == "none" && len(holding) > 0:
		o.fail(path, fmt.Sprintf("%s holds for %d of %s on %s", expression, len(holding), events(len(p.events)), e.Port), cut(holding)...)
	}
}

func cut(lines []string) []string {
	if len(lines) > listed {
		return append(lines[:listed:listed], fmt.Sprintf("  and %d more", len(lines)-listed))
	}
	return lines
}

// reasons counts dead letters.
func (o *observer) reasons(e *Expectation, p *port, path string, described []bool) {
	if len(e.Reasons) == 0 {
		return
	}
	got := map[string]int{}
	for i, v := range p.views {
		reason, _ := v["reason"].(string)
		got[reason]++
		if _, told := e.Reasons[reason]; told {
			described[i] = true
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(e.Reasons)) {
		if want := e.Reasons[reason]; got[reason] != want {
			o.fail(path+".reasons."+reason, fmt.Sprintf("%s carries %d dead letters of this reason, want %d", e.Port, got[reason], want), p.list(nil)...)
		}
	}
}

// nothingElse finds what is not described.
func (o *observer) nothingElse(e *Expectation, p *port, path string, described []bool) {
	left := 0
	for _, is := range described {
		if !is {
			left++
		}
	}
	whole := len(e.Events) + len(e.Exactly) + len(e.Insights) + len(e.Reasons)
	counted := e.Count != nil && whole == 0 // all that the port carries is counted, and nothing described
	if left > 0 && !counted {
		o.fail(path+".nothingElse", fmt.Sprintf("%s carries %s that nothing here describes", e.Port, events(left)), p.list(described)...)
	}
}

// leaves fails for each port that carries something, that nobody reads and that the test does not name.
func (o *observer) leaves(ctx context.Context, t *Test, path string, skipped []string) error {
	named := map[string]bool{}
	for _, e := range t.Expect {
		named[config.PortName(e.Port)] = true
	}
	for _, s := range o.suite.Plan.Stages {
		for _, in := range s.Config.Inputs {
			named[config.PortName(in.From)] = true
		}
	}
	for _, name := range o.trial.Ports() {
		stageName, _, _ := strings.Cut(name, "/")
		if named[name] || slices.Contains(skipped, stageName) {
			continue
		}
		p, err := o.read(ctx, name)
		if err != nil {
			return err
		}
		if len(p.events) > 0 {
			o.fail(path+".nothingElse", fmt.Sprintf("%s carries %s, and the test does not name the port", name, events(len(p.events))), p.list(nil)...)
		}
	}
	return nil
}

// insights finds insights by their last revisions.
func (o *observer) insights(e *Expectation, p *port, path string, described []bool) {
	if len(e.Insights) == 0 {
		return
	}
	last, all := lastRevisions(p.views)
	wants := make([]map[string]any, len(e.Insights))
	compared := make([][]*comparison, len(e.Insights))
	for w := range e.Insights {
		wants[w] = e.Insights[w].members()
		for _, in := range last {
			c := &comparison{}
			c.insight(wants[w], in)
			compared[w] = append(compared[w], c)
		}
	}
	of := assign(len(wants), len(last), e.InOrder, func(w, v int) bool { return compared[w][v].equal() })
	taken := make([]bool, len(last))
	for _, at := range of {
		if at >= 0 {
			taken[at] = true
			for _, revision := range all[at] {
				described[revision] = true
			}
		}
	}
	for w, at := range of {
		if at >= 0 {
			continue
		}
		details := []string{"there is no insight"}
		if len(last) > 0 {
			details = []string{fmt.Sprintf("the %d there are:", len(last))}
			for i, in := range last {
				line := "  " + describe(in)
				if taken[i] {
					line += " (another entry describes it)"
				}
				details = append(details, line)
				for _, d := range compared[w][i].differences {
					details = append(details, "    - "+d.path+": "+text(d.want), "    + "+d.path+": "+text(d.got))
				}
			}
			if most := 40; len(details) > most {
				details = append(details[:most:most], "  ...")
			}
		}
		o.fail(fmt.Sprintf("%s.insights[%d]", path, w), e.Port+" carries no insight like this", details...)
	}
}

// lastRevisions are the insights of a port, by their last revisions, and which events are revisions of each.
func lastRevisions(views []view) (last []Insight, all [][]int) {
	index := map[string]int{}
	for i, v := range views {
		in, ok := v["insight"].(map[string]any)
		if !ok {
			continue
		}
		id := fmt.Sprint(v["source"], " ", v["id"])
		at, known := index[id]
		if !known {
			at = len(last)
			index[id] = at
			last, all = append(last, Insight{}), append(all, nil)
		}
		last[at], all[at] = insightOf(v, in), append(all[at], i)
	}
	return last, all
}

// insightOf is an insight in the words of the test.
func insightOf(v view, in map[string]any) Insight {
	out := Insight{Rule: str(in["ruleId"]), Status: str(in["status"]), Title: str(in["title"]), Severity: str(v["severitytext"])}
	out.Root = entity(in["rootCause"])
	affected, _ := in["affected"].([]any)
	for _, a := range affected {
		out.Affects = append(out.Affects, entity(a))
	}
	return out
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// entity writes an entity as Kind/namespace/name.
func entity(v any) string {
	e, _ := v.(map[string]any)
	var parts []string
	for _, member := range []string{"kind", "namespace", "name"} {
		if s := str(e[member]); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "/")
}

// members are what is said of an insight, by the names of the file.
func (i Insight) members() map[string]any {
	b, _ := json.Marshal(i) // of texts alone
	m := map[string]any{}
	_ = json.Unmarshal(b, &m)
	return m
}

func describe(i Insight) string {
	return fmt.Sprintf("rule %s, root %s, %s, %s: %s", i.Rule, i.Root, i.Severity, i.Status, i.Title)
}

// insight compares an insight with its description.
func (c *comparison) insight(want map[string]any, in Insight) {
	have := in.members()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, ok := have[name]
		if !ok {
			got = missing{}
		}
		same := false
		switch w := want[name].(type) {
		case string:
			same = got == w || name == "title" && strings.Contains(in.Title, w) || name == "severity" && strings.EqualFold(in.Severity, w)
		case []any: // affects
			same = !slices.ContainsFunc(w, func(a any) bool { return !slices.Contains(in.Affects, str(a)) })
		}
		d := difference{name, want[name], got}
		if same {
			c.same = append(c.same, d)
		} else {
			c.differences = append(c.differences, d)
		}
	}
}
