package enrich

import (
	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// semantic classifies events by the rule table.
type semantic struct {
	table *table
	miss  []byte
}

func newSemantic(c *config.EnrichSemantic) *semantic {
	var rules []*rule
	for _, r := range c.Rules {
		rules = append(rules, compile(r))
	}
	rules = append(rules, builtinRules()...)
	done := encodeEnrichment("semantic", StatusOK, 0)
	for _, r := range rules {
		r.patch = append(encode(&eventv1.Event{Semantic: &eventv1.Semantic{
			Class: valid(r.class), Category: r.category, RuleId: valid(r.id), Confidence: r.confidence(),
		}}), done...)
		r.patchSeverity = append(encode(&eventv1.Event{
			SeverityNumber: r.severity, SeverityText: event.SeverityText(r.severity),
		}), r.patch...)
	}
	return &semantic{table: newTable(rules), miss: encodeEnrichment("semantic", StatusMiss, 0)}
}

// patch returns what the table adds to an event: class, category, and the severity where the
// rule gives one. A built-in rule raises the event's own severity only.
func (s *semantic) patch(e *event.Event) (patch []byte, status Status) {
	r := s.table.match(e)
	if r == nil {
		return s.miss, StatusMiss
	}
	if r.severity == 0 || r.severity == e.Severity || r.raise && e.Severity > r.severity {
		return r.patch, StatusOK
	}
	return r.patchSeverity, StatusOK
}
