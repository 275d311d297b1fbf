package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// catalog is what the constants say, in their order.
type catalog struct {
	conditions []condition
	rows       []row
}

// condition is one condition type.
type condition struct {
	name, text string
	kinds      []string
	// polarity is the status of an object that is well: normal-true or abnormal-true.
	polarity string
}

// row is one occurrence of a reason.
type row struct {
	reason, kind string
	// condition and status, or event and its type.
	condition, status string
	event             bool
	text, do          string
}

// parse reads the constants whose names begin with Condition and Reason.
func parse(source []byte) (*catalog, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	c := &catalog{}
	var errs []error
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			errs = append(errs, c.constant(spec))
		}
		return true
	})
	for _, r := range c.rows {
		errs = append(errs, c.check(r))
	}
	return c, errors.Join(errs...)
}

func (c *catalog) constant(spec *ast.ValueSpec) error {
	name := spec.Names[0].Name
	literal, ok := spec.Values[0].(*ast.BasicLit)
	if !ok {
		return nil
	}
	value, err := strconv.Unquote(literal.Value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case strings.HasPrefix(name, "Condition"):
		err = c.condition(name, value, spec.Doc.Text())
	case strings.HasPrefix(name, "Reason"):
		err = c.reason(name, value, spec.Doc.Text())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

var ofCondition = regexp.MustCompile(`^Condition\w+ \((Pipeline|Stage|Pipeline, Stage); ((?:ab)?normal-true)\):? (.+)$`)

func (c *catalog) condition(name, value, doc string) error {
	m := ofCondition.FindStringSubmatch(oneLine(doc))
	if len(m) < 4 || !strings.HasPrefix(m[0], name+" ") {
		return errors.New("its comment must be: " + name + " (KINDS; normal-true or abnormal-true): what it says")
	}
	c.conditions = append(c.conditions, condition{name: value, kinds: strings.Split(m[1], ", "), polarity: m[2], text: m[3]})
	return nil
}

var (
	ofRow   = regexp.MustCompile(`^(Pipeline|Stage) (.+?): (.+?)(?: Do: (.+))?$`)
	ofPlace = regexp.MustCompile(`^(\w+)=(True|False|Unknown)$`)
	ofEvent = regexp.MustCompile(`^Event (Normal|Warning)$`)
)

func (c *catalog) reason(name, value, doc string) error {
	sentence, lines, _ := strings.Cut(doc, "\n\n")
	if !strings.HasPrefix(sentence, name+" says ") || lines == "" {
		return errors.New("its comment must be: " + name + " says ..., and below it where it occurs")
	}
	for _, line := range unfold(lines) {
		m := ofRow.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("the line %q is not: KIND CONDITION=STATUS: meaning. Do: what to do", line)
		}
		for place := range strings.SplitSeq(m[2], ", ") {
			r := row{reason: value, kind: m[1], text: m[3], do: m[4]}
			if at := ofPlace.FindStringSubmatch(place); at != nil {
				r.condition, r.status = at[1], at[2]
			} else if at := ofEvent.FindStringSubmatch(place); at != nil {
				r.event, r.status = true, at[1]
			} else {
				return fmt.Errorf("%q is neither CONDITION=STATUS nor Event TYPE", place)
			}
			c.rows = append(c.rows, r)
		}
	}
	return nil
}

// check refuses a row of a condition that its kind does not have.
func (c *catalog) check(r row) error {
	if r.event || slices.ContainsFunc(c.conditions, func(k condition) bool {
		return k.name == r.condition && slices.Contains(k.kinds, r.kind)
	}) {
		return nil
	}
	return fmt.Errorf("reason %s: a %s has no condition %s", r.reason, r.kind, r.condition)
}

// unfold joins the lines that begin with more space to the one before.
func unfold(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimRight(line, "\n"), "\t")
		switch {
		case strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, " ") && len(lines) > 0:
			lines[len(lines)-1] += " " + strings.TrimSpace(line)
		default:
			lines = append(lines, line)
		}
	}
	return lines
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
