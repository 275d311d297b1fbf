package enrich

import (
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// semantic classifies events by the rule table.
type semantic struct {
	table *table
	miss  *event.Prepared
}

func newSemantic(c *config.EnrichSemantic) *semantic {
	var rules []*rule
	for _, r := range c.Rules {
		rules = append(rules, compile(r))
	}
	rules = append(rules, builtinRules()...)
	for _, r := range rules {
		r.severityText = event.SeverityText(r.severity)
		r.patch = prepare(appendEnrichment(appendSemantic(nil, r), "semantic", StatusOK, 0))
	}
	return &semantic{table: newTable(rules), miss: prepareEnrichment("semantic", StatusMiss, 0)}
}

// enrich adds class and category, and the severity where the rule gives one. A built-in rule
// raises the event's own severity only. k is what is known of where the event comes from, or nil.
func (s *semantic) enrich(e *event.Event, k *known) Status {
	var typed *typeRules
	if k != nil {
		typed = k.rules
	} else {
		typed = s.table.of(e.Type)
	}
	r := typed.match(e)
	if r == nil {
		e.AppendPrepared(s.miss)
		return StatusMiss
	}
	if r.severity != 0 && r.severity != e.Severity && (!r.raise || e.Severity < r.severity) {
		e.SetSeverity(r.severity, r.severityText)
	}
	e.SetPrepared(r.patch)
	return StatusOK
}
