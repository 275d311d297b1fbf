package enrich

import (
	"slices"
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
	patch event.Prepared
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
	types, reasons map[string]struct{} // what rules name exactly
	rows           map[tableKey][]*rule
	// reasonTypes are the types for which a rule looks at the reason.
	reasonTypes map[string]bool
}

// tableKey has empty members for types and reasons that no rule names.
type tableKey struct{ typ, reason string }

// newTable indexes rules; those of users come first.
func newTable(rules []*rule) *table {
	t := &table{
		types: map[string]struct{}{"": {}}, reasons: map[string]struct{}{"": {}},
		rows: map[tableKey][]*rule{}, reasonTypes: map[string]bool{},
	}
	for _, r := range rules {
		if !r.below {
			t.types[r.typ] = struct{}{}
		}
		t.reasons[r.reason] = struct{}{}
	}
	for typ := range t.types {
		for reason := range t.reasons {
			t.index(rules, tableKey{typ, reason})
		}
	}
	return t
}

// index keeps the rules that can match a key. For types that no rule names, these are the
// rules without a type and those with a prefix, which match looks at.
func (t *table) index(rules []*rule, key tableKey) {
	var row []*rule
	for _, r := range rules {
		typed := r.matchesType(key.typ) || key.typ == "" && r.below
		if typed && r.reason != "" {
			t.reasonTypes[key.typ] = true
		}
		if typed && (r.reason == "" || r.reason == key.reason) {
			row = append(row, r)
		}
	}
	t.rows[key] = slices.Clip(row)
}

// match returns the first rule that matches an event, or nil.
func (t *table) match(e *event.Event) *rule {
	key := tableKey{typ: e.Type}
	if _, named := t.types[e.Type]; !named {
		key.typ = ""
	}
	if t.reasonTypes[key.typ] {
		key.reason = e.KubernetesReason()
		if _, named := t.reasons[key.reason]; !named {
			key.reason = ""
		}
	}
	for _, r := range t.rows[key] {
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
