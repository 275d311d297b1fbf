package enrich

import (
	"strings"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// The categories of the semantic enricher.
const (
	categoryAvailability = "availability"
	categoryPerformance  = "performance"
	categoryCapacity     = "capacity"
	categoryChange       = "change"
	categorySecurity     = "security"
	categoryNetwork      = "network"
	categoryInformation  = "information"
)

// categories returns the categories that a rule may give.
func categories() []string {
	return []string{
		categoryAvailability, categoryPerformance, categoryCapacity, categoryChange,
		categorySecurity, categoryNetwork, categoryInformation,
	}
}

// rule is one row of the rule table, compiled. Empty members match everything.
type rule struct {
	id       string
	typ      string // exact, or a prefix with its dot when below is set
	below    bool   // typ ends with .*
	reason   string
	contains string
	// minSeverity is the least severity number that the event must have.
	minSeverity int32

	class, category string
	severity        int32
	severityText    string
	// raise leaves a severity of the event's own that is higher; a user's rule replaces it.
	raise bool

	// patch is what a match appends.
	patch *event.Prepared
}

func compile(r config.SemanticRule) *rule {
	c := &rule{
		id: r.ID, typ: r.Type, reason: r.Reason, contains: r.Contains,
		class: r.Class, category: r.Category, severity: r.Severity,
	}
	if prefix, ok := strings.CutSuffix(r.Type, "*"); ok && strings.HasSuffix(prefix, ".") {
		c.typ, c.below = prefix, true
	}
	return c
}

func (r *rule) matchesType(typ string) bool {
	switch {
	case r.typ == "":
		return true
	case r.below:
		return strings.HasPrefix(typ, r.typ)
	default:
		return typ == r.typ
	}
}

// confidence says what a match rests on: 1 when the source states the fact by its type or its
// reason, 0.5 when the rule reads it out of free text. It ranks; it is no measured probability.
func (r *rule) confidence() float64 {
	if r.contains != "" {
		return 0.5
	}
	return 1
}

// table finds the first rule that matches. It is indexed by event type and Kubernetes reason:
// a look-up sees the few rules that can match, in the order of the table.
type table struct {
	types map[string]*typeRules // of types that rules name exactly
	other *typeRules            // of all other types
}

// typeRules are the rules that can match events of one type.
type typeRules struct {
	reasons map[string][]*rule // by the reasons that rules name; empty = the reason says nothing
	other   []*rule            // for all other reasons
}

// newTable indexes rules; those of users come first.
func newTable(rules []*rule) *table {
	t := &table{types: map[string]*typeRules{}, other: newTypeRules(rules, "")}
	for _, r := range rules {
		if r.typ != "" && !r.below && t.types[r.typ] == nil {
			t.types[r.typ] = newTypeRules(rules, r.typ)
		}
	}
	return t
}

// newTypeRules keeps the rules that can match a type. For types that no rule names, which is
// typ "", these are the rules without a type and those with a prefix, which matches looks at.
func newTypeRules(rules []*rule, typ string) *typeRules {
	t := &typeRules{reasons: map[string][]*rule{}}
	var typed []*rule
	for _, r := range rules {
		if r.matchesType(typ) || typ == "" && r.below {
			typed = append(typed, r)
			if r.reason != "" {
				t.reasons[r.reason] = nil
			}
		}
	}
	keep := func(reason string) (row []*rule) {
		for _, r := range typed {
			if r.reason == "" || r.reason == reason {
				row = append(row, r)
			}
		}
		return row
	}
	for reason := range t.reasons {
		t.reasons[reason] = keep(reason)
	}
	t.other = keep("")
	return t
}

// of returns the rules that can match events of a type.
func (t *table) of(typ string) *typeRules {
	if typed, ok := t.types[typ]; ok {
		return typed
	}
	return t.other
}

// match returns the first rule that matches an event, or nil.
func (t *typeRules) match(e *event.Event) *rule {
	row := t.other
	if len(t.reasons) > 0 {
		if named, ok := t.reasons[e.KubernetesReason()]; ok {
			row = named
		}
	}
	for _, r := range row {
		if r.matches(e) {
			return r
		}
	}
	return nil
}

// matches looks at what the index does not hold.
func (r *rule) matches(e *event.Event) bool {
	return e.Severity >= r.minSeverity &&
		(!r.below || strings.HasPrefix(e.Type, r.typ)) &&
		(r.contains == "" || strings.Contains(e.Body, r.contains))
}
