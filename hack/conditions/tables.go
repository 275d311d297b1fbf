package main

import (
	"fmt"
	"slices"
	"strings"
)

// tables are the conditions, for each kind the reasons that ask for something, the reasons that do not, and the Events.
func (c *catalog) tables() string {
	var t strings.Builder
	head(&t, "condition", "on", "polarity", "what it says")
	for _, k := range c.conditions {
		line(&t, code(k.name), strings.Join(k.kinds, ", "), k.polarity, k.text)
	}
	for _, kind := range []string{"Pipeline", "Stage"} {
		fmt.Fprintf(&t, "\n### %s\n\n", kind)
		head(&t, "condition", "status", "reason", "what it means", "what to do")
		c.reasons(&t, kind)
	}
	t.WriteString("\n### Nothing to do\n\n")
	head(&t, "reason", "on", "what it means")
	for _, group := range c.calm() {
		line(&t, code(group[0].reason), places(group), group[0].text)
	}
	t.WriteString("\n### Events\n\n")
	head(&t, "reason", "on", "type", "what happened")
	for _, r := range c.rows {
		if r.event {
			line(&t, code(r.reason), r.kind, r.status, r.text)
		}
	}
	return t.String()
}

// reasons are those of a kind that say what to do, by condition.
func (c *catalog) reasons(t *strings.Builder, kind string) {
	for _, k := range c.conditions {
		name := code(k.name)
		for _, r := range c.rows {
			if r.kind == kind && r.condition == k.name && r.do != "" {
				line(t, name, r.status, code(r.reason), r.text, r.do)
				name = ""
			}
		}
	}
}

// calm are the reasons that ask for nothing: those of one reason and text together.
func (c *catalog) calm() [][]row {
	var groups [][]row
	for _, r := range c.rows {
		if r.event || r.do != "" {
			continue
		}
		at := slices.IndexFunc(groups, func(g []row) bool { return g[0].reason == r.reason && g[0].text == r.text })
		if at < 0 {
			groups, at = append(groups, nil), len(groups)
		}
		groups[at] = append(groups[at], r)
	}
	return groups
}

// places are the conditions of some rows, each once.
func places(rows []row) string {
	var names []string
	for _, r := range rows {
		if name := code(r.condition); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

func code(text string) string { return "`" + text + "`" }

func head(t *strings.Builder, cells ...string) {
	line(t, cells...)
	t.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
}

// line is one line of a table. The text of a cell begins small and ends without a full stop where it is one sentence.
func line(t *strings.Builder, cells ...string) {
	for _, cell := range cells {
		if strings.Count(cell, ". ") == 0 {
			cell = strings.TrimSuffix(cell, ".")
		}
		t.WriteString("| " + cell)
		if cell != "" {
			t.WriteString(" ")
		}
	}
	t.WriteString("|\n")
}
