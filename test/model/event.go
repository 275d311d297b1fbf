package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// ev is an event as the model sees it.
type ev struct {
	id, source, kind, subject, body string
	severity                        int
	attributes                      map[string]any // string, int or bool
	key                             string
	// keys are all keys that it has had, one after another: order is kept among events that have these in common. n is its place in the input.
	keys string
	n    int
	// answers are the texts of the events that a join has collected in it.
	answers []string
}

func (e *ev) clone() *ev {
	c := *e
	c.attributes = maps.Clone(e.attributes)
	return &c
}

// rekey gives e another key.
func (e *ev) rekey(key string) {
	e.key = key
	e.keys += "\x00" + key
}

// text says all that is compared of an event.
func (e *ev) text() string {
	var attributes []string
	for _, k := range slices.Sorted(maps.Keys(e.attributes)) {
		attributes = append(attributes, fmt.Sprintf("%s=%#v", k, e.attributes[k]))
	}
	text := fmt.Sprintf("%s %s type=%s subject=%s severity=%d body=%q {%s}", e.source, e.id, e.kind, e.subject, e.severity, e.body, strings.Join(attributes, " "))
	if len(e.answers) > 0 {
		text += " of [" + strings.Join(e.answers, "; ") + "]"
	}
	return text
}

var (
	kinds    = []string{"app.log", "http.request", "k8s.event"}
	subjects = []string{"alpha", "beta", "gamma", "delta/1", "delta/2", "epsilon"}
	names    = []string{"a", "b", "c"}
	values   = []any{"x", "y", "", 7, 0}
)

func pick[T any](lot *rand.Rand, of []T) T { return of[lot.IntN(len(of))] }

// line is one line of the input; e is nil when it is no event.
type line struct {
	text string
	e    *ev
}

// newInput draws n lines. Some are no events, and some come twice.
func newInput(lot *rand.Rand, n int) (lines []line) {
	for i := range n {
		switch {
		case lot.IntN(50) == 0:
			lines = append(lines, line{text: "no event " + strconv.Itoa(i)})
			continue
		case i > 0 && lot.IntN(20) == 0:
			twin := lines[lot.IntN(len(lines))]
			if twin.e != nil {
				twin.e = twin.e.clone()
				twin.e.n = i
			}
			lines = append(lines, twin)
			continue
		}
		e := &ev{
			id: "e" + strconv.Itoa(i), source: "/model", kind: pick(lot, kinds), subject: pick(lot, subjects), severity: 1 + lot.IntN(24),
			body: strings.Join(slices.Repeat([]string{"word"}, lot.IntN(4)), ","), attributes: map[string]any{}, n: i,
		}
		for _, name := range names {
			if lot.IntN(2) == 0 {
				e.attributes[name] = pick(lot, values)
			}
		}
		e.rekey(e.subject)
		lines = append(lines, line{e.json(), e})
	}
	return lines
}

func (e *ev) json() string {
	text, err := json.Marshal(map[string]any{
		"id": e.id, "source": e.source, "type": e.kind, "subject": e.subject, "severitynumber": e.severity, "body": e.body,
		"attributes": e.attributes, "time": "2026-03-01T12:00:00Z",
	})
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(text)
}

// read reads an event that millrace wrote: a CloudEvent in JSON whose data are the members of an event.
func read(text []byte) (*ev, error) {
	var m struct {
		ID, Source, Type, Subject string
		SeverityNumber            int `json:"severitynumber"`
		Data                      struct {
			Body       string
			Attributes map[string]any
			Payload    struct{ Data []json.RawMessage }
		}
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	e := &ev{id: m.ID, source: m.Source, kind: m.Type, subject: m.Subject, severity: m.SeverityNumber, body: m.Data.Body, attributes: map[string]any{}}
	for k, v := range m.Data.Attributes {
		if number, ok := v.(json.Number); ok {
			n, err := strconv.Atoi(number.String())
			if err != nil {
				return nil, fmt.Errorf("attribute %s: %w", k, err)
			}
			v = n
		}
		e.attributes[k] = v
	}
	for _, text := range m.Data.Payload.Data {
		a, err := read(text)
		if err != nil {
			return nil, err
		}
		e.answers = append(e.answers, a.text())
	}
	e.normal()
	return e, nil
}
