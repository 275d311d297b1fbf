package view

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// Insights say of themselves what their life is (docs/stages/correlate.md).
const (
	statusOpen   = "open"
	statusClosed = "closed"
)

// scanBytes bounds what one question about insights or dead letters reads, in bytes of messages, the newest first.
const scanBytes = 256 << 20

// incidentsKept is how long a list answers those who ask for the same one, while nothing is added to the stream.
const incidentsKept = 10 * time.Second

// Incidents lists the newest revision of each insight, the last one that was stored first. Of a stream with more than 256 MiB it reads
// the newest ones. Callers share readings, so nobody changes the list.
func (v *View) Incidents(ctx context.Context, of Name, o IncidentOptions) ([]Incident, error) {
	severity, err := severityAtLeast(o.Severity)
	if err != nil {
		return nil, err
	}
	l, c, err := v.open(ctx, of)
	if err != nil || l.Insights == "" {
		return nil, err
	}
	last, err := c.LastSequence(ctx, l.Insights)
	if err != nil {
		return nil, notFound(err)
	}
	since := o.Since
	if !since.IsZero() { // an hour before now is the same question for all who ask within these seconds
		o.Since = since.Truncate(incidentsKept)
	}
	question, err := json.Marshal([]any{of, o, l.Insights, last})
	if err != nil {
		return nil, err
	}
	all, err := v.insights.get(ctx, string(question), func(ctx context.Context) ([]Incident, error) {
		return readIncidents(ctx, l, c, o, severity)
	})
	if n := slices.IndexFunc(all, func(i Incident) bool { return i.At.Stored.Before(since) }); n >= 0 { // the newest come first
		all = all[:n:n]
	}
	return all, err
}

func readIncidents(ctx context.Context, l *Layout, c *jetstream.Client, o IncidentOptions, severity int32) ([]Incident, error) {
	d, seen, read := newDecoder(), map[string]bool{}, 0
	var all []Incident
	err := store.Stream{Client: c, Name: l.Insights}.Backward(ctx, store.Range{Since: o.Since}, func(m *store.Message) error {
		if read += len(m.Data); read > scanBytes {
			return store.ErrStop
		}
		port := l.insightsPort(m.Subject)
		if port == nil {
			return nil
		}
		err := d.read(port, m, func(f found) error {
			if i := incidentOf(port, m, f); i != nil && !seen[i.key] {
				seen[i.key] = true
				if i.chosen(&o, severity) {
					all = append(all, i.Incident)
				}
			}
			return nil
		})
		if err == nil && o.Limit > 0 && len(all) >= o.Limit {
			return store.ErrStop
		}
		return err
	})
	return all, notFound(err)
}

// severityAtLeast is the least number of a severity; 0 = any.
func severityAtLeast(text string) (int32, error) {
	if text == "" {
		return 0, nil
	}
	n := event.SeverityNumber(text)
	if n == 0 {
		return 0, fmt.Errorf("severity %q: %w: want info, warning, error or fatal", text, ErrInvalid)
	}
	return n, nil
}

// insightsPort is the port that stores a subject of the stream of insights; nil = no stage does.
func (l *Layout) insightsPort(subject string) *PortLayout {
	for i := range l.Ports {
		p := &l.Ports[i]
		if p.Port == config.PortInsights && strings.HasPrefix(subject, p.Base+"."+p.Stage+".") {
			return p
		}
	}
	return nil
}

// incident is one revision.
type incident struct {
	Incident
	key      string
	severity int32
}

// incidentOf reads an insight; nil = the message holds none.
func incidentOf(p *PortLayout, m *store.Message, f found) *incident {
	if f.event == nil {
		return nil
	}
	e, err := f.event.ToProto()
	if err != nil || e.GetInsight() == nil {
		return nil
	}
	s := p.stored(m, f)
	in := e.GetInsight()
	i := &incident{key: e.GetSource() + "\x00" + e.GetId(), severity: e.GetSeverityNumber()}
	i.Incident = Incident{
		ID: e.GetId(), Title: in.GetTitle(), Summary: in.GetSummary(), Status: cmp.Or(in.GetStatus(), statusOpen), Revision: in.GetRevision(),
		Severity: cmp.Or(event.SeverityLevel(e.GetSeverityNumber()), strings.ToLower(e.GetSeverityText())), Stage: p.Stage,
		Rule: in.GetRuleId(), Algorithm: in.GetAlgorithm(), Confidence: in.GetConfidence(), ConfidenceMethod: in.GetConfidenceMethod(),
		Cause: entityOf(in.GetRootCause()), First: timeOf(in.GetFirstSeenUnixNano()), Last: timeOf(in.GetLastSeenUnixNano()),
		Count: in.GetCount(), At: s.Place, Event: s.Event, Evidence: []Evidence{},
	}
	if i.Status != statusClosed {
		i.Status = statusOpen
	}
	for _, a := range in.GetAffected() {
		i.Affected = append(i.Affected, entityOf(a))
	}
	for _, x := range in.GetEvidence() {
		i.Evidence = append(i.Evidence, Evidence{
			EventID: x.GetEventId(), Type: x.GetType(), Time: timeOf(x.GetTimeUnixNano()), Relation: x.GetRelation(), Text: x.GetText(), Entity: entityOf(x.GetEntity()),
		})
	}
	slices.SortStableFunc(i.Evidence, func(a, b Evidence) int { return a.Time.Compare(b.Time) })
	return i
}

func entityOf(e *eventv1.EntityRef) string {
	return entity(e.GetKind(), e.GetNamespace(), e.GetName())
}

func timeOf(nanos uint64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(nanos)).UTC()
}

// chosen says whether the options choose it.
func (i *incident) chosen(o *IncidentOptions, severity int32) bool {
	if o.Open && i.Status == statusClosed || i.severity < severity {
		return false
	}
	entities := append([]string{i.Cause}, i.Affected...)
	return (o.Namespace == "" || slices.ContainsFunc(entities, func(e string) bool { return namespaceOf(e) == o.Namespace })) &&
		(o.Entity == "" || slices.ContainsFunc(entities, func(e string) bool { return strings.Contains(e, o.Entity) }))
}

// namespaceOf is the namespace of kind/namespace/name; empty for kind/name.
func namespaceOf(entity string) string {
	parts := strings.Split(entity, "/")
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}
