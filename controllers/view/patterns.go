package view

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

const (
	// typePattern is the event about a pattern, and patternLost its status when it holds no more (docs/stages/correlate.md).
	typePattern = "millrace.correlation.pattern"
	patternLost = "lost"
	// patternsListed is how far before the newest event about a pattern those of all others stand: each is told of every hour.
	patternsListed = 2 * time.Hour
)

// Pattern is a pattern that a stage has learnt.
type Pattern struct {
	ID    string `json:"id"`
	Stage string `json:"stage"`
	// Relation is what the events have in common: pod, workload, service, node or namespace.
	Relation string `json:"relation"`
	// First are the kinds of events that it begins with, one or two of them.
	First []string `json:"first"`
	Then  string   `json:"then"`
	// Usually is within how many seconds nine of ten came.
	Usually float64 `json:"usuallySeconds"`
	// Begun is how often it began, Followed how often Then followed, and Chance how often it would have by chance.
	Begun    float64 `json:"begun"`
	Followed float64 `json:"followed"`
	Chance   float64 `json:"chance"`
	// Confidence is Followed/Begun, and Low the lower bound of its 95 % interval.
	Confidence float64 `json:"confidence"`
	Low        float64 `json:"confidenceLow"`
	// Evidence is in nats.
	Evidence float64   `json:"evidence"`
	Since    time.Time `json:"since"`
	Summary  string    `json:"summary"`
	Examples []string  `json:"examples"`
	// Stored is when the stage told of it last.
	Stored time.Time `json:"stored"`
}

// Patterns lists what the stages of a pipeline have learnt and still hold for true, those with the most evidence first. It reads the port out of
// correlate stages, the newest messages first, until it has the last list of all; in a stream with more than 256 MiB behind that list it finds a part of it.
func (v *View) Patterns(ctx context.Context, of Name) ([]Pattern, error) {
	l, c, err := v.open(ctx, of)
	if err != nil {
		return nil, err
	}
	var all []Pattern
	for i := range l.Stages {
		if l.Stages[i].Kind != config.KindCorrelate {
			continue
		}
		port, err := l.Port(l.Stages[i].Name, config.PortOut)
		if err != nil || port.Stream == "" { // its readers are in the same worker
			continue
		}
		learnt, err := readPatterns(ctx, port, c)
		if err != nil {
			return nil, notFound(err)
		}
		all = append(all, learnt...)
	}
	slices.SortFunc(all, func(a, b Pattern) int {
		return cmp.Or(cmp.Compare(b.Evidence, a.Evidence), cmp.Compare(b.Followed, a.Followed), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

func readPatterns(ctx context.Context, port *PortLayout, c *jetstream.Client) (all []Pattern, err error) {
	d, seen, read := newDecoder(), map[string]int{}, 0
	var newest time.Time
	lost := map[string]bool{}
	err = store.Stream{Client: c, Name: port.Stream}.Backward(ctx, store.Range{Subject: port.Subject}, func(m *store.Message) error {
		if read += len(m.Data); read > scanBytes || !newest.IsZero() && newest.Sub(m.Stored) > patternsListed {
			return store.ErrStop
		}
		inMessage := map[string]bool{} // whose events come oldest first
		return d.read(port, m, func(f found) error {
			if f.event == nil || f.event.Type != typePattern {
				return nil
			}
			if newest.IsZero() {
				newest = m.Stored
			}
			p, status := patternOf(port, m, f.event)
			at, known := seen[p.ID]
			switch {
			case known && !inMessage[p.ID]:
				return nil
			case known:
				all[at] = p
			default:
				seen[p.ID] = len(all)
				all = append(all, p)
			}
			inMessage[p.ID], lost[p.ID] = true, status == patternLost
			return nil
		})
	})
	return slices.DeleteFunc(all, func(p Pattern) bool { return lost[p.ID] }), err
}

// patternOf reads the event about a pattern.
func patternOf(port *PortLayout, m *store.Message, e *event.Event) (p Pattern, status string) {
	p = Pattern{Stage: port.Stage, Summary: strings.Clone(e.Body), Stored: m.Stored, Examples: []string{}}
	if c, ok := e.Correlation(); ok {
		p.ID = strings.Clone(c.CorrelationID)
	}
	e.Attributes(func(key string, v event.Value) bool {
		key, ok := strings.CutPrefix(key, "pattern.")
		if !ok {
			return true
		}
		text := strings.Clone(v.Text())
		number, _ := strconv.ParseFloat(text, 64) // of texts 0
		switch key {
		case "status":
			status = text
		case "relation":
			p.Relation = text
		case "first":
			p.First = append([]string{text}, p.First...)
		case "second":
			p.First = append(p.First, text)
		case "then":
			p.Then = text
		case "usually_ms":
			p.Usually = number / 1000
		case "begun":
			p.Begun = number
		case "followed":
			p.Followed = number
		case "chance":
			p.Chance = number
		case "confidence":
			p.Confidence = number
		case "confidence_low":
			p.Low = number
		case "evidence":
			p.Evidence = number
		case "since":
			p.Since, _ = time.Parse(time.RFC3339, text) // zero if it is none
		default:
			if strings.HasPrefix(key, "example.") {
				p.Examples = append(p.Examples, text)
			}
		}
		return true
	})
	return p, status
}
