package arch

import (
	"fmt"
	"sort"
)

// Violation is one place that breaks a rule.
type Violation struct {
	Path string
	Line int
	Rule string
	// Message says what is wrong and what to do.
	Message string
}

// String is path:line: rule: message, which editors and terminals turn into a link.
func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", v.Path, v.Line, v.Rule, v.Message)
}

// Rule is one rule of the house.
type Rule struct {
	// Name is also the folder of the violation in testdata.
	Name string
	// Check returns what breaks the rule; it leaves Violation.Rule empty.
	Check func(*Tree) []Violation
}

// Rules are all rules of the house, in the order of CONTRIBUTING.md.
func Rules() []Rule {
	return []Rule{
		{"api-stands-alone", apiStandsAlone},
		{"control-plane-imports", controlPlaneImports},
		{"data-plane-imports", dataPlaneImports},
		{"product-without-tests", productWithoutTests},
		{"client-go", clientGo},
		{"nats-go", natsGo},
		{"jsm-go", jsmGo},
		{"embedded-server", embeddedServer},
		{"stages-apart", stagesApart},
		{"stage-shape", stageShape},
		{"engine-rooms", engineRooms},
		{"event-rooms", eventsApart},
		{"collectors-apart", collectorsApart},
		{"plans-are-pure", plansArePure},
		{"no-init", noInit},
		{"no-made-up-context", noMadeUpContext},
		{"clock-is-given", clockIsGiven},
		{"no-package-state", noPackageState},
		{"doc-go", docGo},
		{"names-from-the-field", namesFromTheField},
	}
}

// Check runs the rules and returns all violations, sorted by place.
func Check(tree *Tree, rules []Rule) []Violation {
	var all []Violation
	for _, rule := range rules {
		for _, v := range rule.Check(tree) {
			v.Rule = rule.Name
			all = append(all, v)
		}
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.Path != b.Path {
			return a.Path < b.Path
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Rule < b.Rule
	})
	return all
}
