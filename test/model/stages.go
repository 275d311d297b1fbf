package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"
)

// The ends that an event may have other than a port.
const (
	filtered  = "filtered"
	duplicate = "duplicate"
	kept      = "kept"
)

// result is what becomes of one event: it leaves on ports, or has another end, or is a dead letter. made are new events.
type result struct {
	to     map[string]*ev // by port
	end    string
	reason string
	made   []*ev // on port out
}

func out(e *ev) result             { return result{to: map[string]*ev{"out": e}} }
func ends(how string) result       { return result{end: how} }
func deadLetter(why string) result { return result{reason: why} }

// stage is one stage of a manifest, and what it means.
type stage struct {
	name string
	from []string
	kind string
	spec map[string]any
	// ports are those that other stages may read.
	ports []string
	// process is what the stage does with the next event of an input. begin forgets all events of before; nil = it remembers none.
	process func(e *ev, input int) result
	begin   func()
	// end is what leaves on port out when the input is at its end; nil = nothing does.
	end func() []*ev
}

// maker draws a stage of one kind.
type maker func(lot *rand.Rand, s *stage)

var makers = map[string]maker{
	"validate":   newValidate,
	"enrich":     newEnrich,
	"route":      newRoute,
	"transform":  newTransform,
	"experiment": newExperiment,
	"correlate":  newEnd(map[string]any{"realtime": map[string]any{}}),
	"analyze":    newEnd(map[string]any{"trend": map[string]any{}}),
	"sink":       newSink,
}

// ordinary kinds take up most of a pipeline.
var ordinary = []string{"validate", "enrich", "route", "route", "transform", "transform", "transform", "experiment"}

func newValidate(lot *rand.Rand, s *stage) {
	var rules []any
	var conditions []condition
	for range lot.IntN(3) {
		c := newCondition(lot, 1)
		conditions = append(conditions, c)
		rules = append(rules, map[string]any{"expression": c.text})
	}
	s.spec, s.ports = map[string]any{"rules": rules}, []string{"out"}
	if len(rules) == 0 {
		delete(s.spec, "rules")
	}
	var seen map[string]bool
	s.begin = func() { seen = map[string]bool{} }
	dedupes := len(s.from) == 1 && s.from[0] == ingress && lot.IntN(2) == 0
	if dedupes { // elsewhere the copies of an event may differ by then
		s.spec["dedupe"] = map[string]any{"window": "1h"}
	}
	s.process = func(e *ev, _ int) result {
		for _, c := range conditions {
			switch c.of(e) {
			case no:
				return deadLetter("rule_failed")
			case failed:
				return deadLetter("rule_error")
			}
		}
		if dedupes && seen[e.id] {
			return ends(duplicate)
		}
		seen[e.id] = true
		return out(e)
	}
}

func newEnrich(_ *rand.Rand, s *stage) {
	s.spec, s.ports = map[string]any{"semantic": map[string]any{}}, []string{"out"}
	s.process = func(e *ev, _ int) result { return out(e) }
}

// newEnd is a stage that finds nothing in the events of this model, and lets all of them end.
func newEnd(spec map[string]any) maker {
	return func(_ *rand.Rand, s *stage) {
		s.spec = spec
		s.process = func(*ev, int) result { return ends(filtered) }
	}
}

func newSink(_ *rand.Rand, s *stage) {
	s.spec = map[string]any{"file": map[string]any{"path": sinkDir + "/" + s.name + ".ndjson"}}
	s.process = func(*ev, int) result { return ends(kept) }
}

func newRoute(lot *rand.Rand, s *stage) {
	all := lot.IntN(2) == 0
	rest := pick(lot, []string{"rest", "p0", "Drop"})
	type rule struct {
		condition
		port   string
		sample float64
	}
	var rules []rule
	var spec []any
	for range 1 + lot.IntN(4) {
		r := rule{condition: newCondition(lot, 1), port: "p" + strconv.Itoa(lot.IntN(3))}
		one := map[string]any{"port": r.port, "expression": r.text}
		if lot.IntN(3) == 0 {
			r.sample = 0.5
			one["sample"] = "0.5"
		}
		rules, spec = append(rules, r), append(spec, one)
		if !slices.Contains(s.ports, r.port) {
			s.ports = append(s.ports, r.port)
		}
	}
	s.spec = map[string]any{"mode": map[bool]string{true: "All", false: "First"}[all], "rules": spec, "default": rest}
	if rest != "Drop" && !slices.Contains(s.ports, rest) {
		s.ports = append(s.ports, rest)
	}
	s.process = func(e *ev, _ int) result {
		to := map[string]*ev{}
		for _, r := range rules {
			if to[r.port] != nil {
				continue // it goes there already
			}
			if r.sample > 0 && float64(xxh3.HashStringSeed(e.key, xxh3.HashString(r.port))) >= r.sample*math.MaxUint64 {
				continue
			}
			switch r.of(e) {
			case failed:
				return deadLetter("rule_error")
			case yes:
				to[r.port] = e
			}
			if len(to) > 0 && !all {
				break
			}
		}
		switch {
		case len(to) > 0:
			return result{to: to}
		case rest == "Drop":
			return ends(filtered)
		}
		return result{to: map[string]*ev{rest: e}}
	}
}

func newExperiment(lot *rand.Rand, s *stage) {
	mirror := lot.IntN(3) == 0
	weights := map[string]int{"v0": 1 + lot.IntN(9), "v1": lot.IntN(9)}
	s.ports = []string{"v0", "v1"}
	s.spec = map[string]any{"mode": map[bool]string{true: "Mirror", false: "Split"}[mirror], "variants": []any{
		map[string]any{"name": "v0", "weight": weights["v0"]}, map[string]any{"name": "v1", "weight": weights["v1"]},
	}}
	s.process = func(e *ev, _ int) result {
		to := map[string]*ev{}
		best, most := "", 0.0
		for port, weight := range weights {
			if weight == 0 {
				continue
			}
			to[port] = e
			h := (float64(xxh3.HashStringSeed(e.key, xxh3.HashString(s.name+"/"+port))>>11) + 0.5) / (1 << 53)
			if score := float64(weight) / -math.Log(h); score > most {
				best, most = port, score
			}
		}
		if mirror {
			return result{to: to}
		}
		e.attributes["experiment."+s.name] = best
		return result{to: map[string]*ev{best: e}}
	}
}

// step changes an event. stays is no when it ends here.
type step func(e *ev) (stays answer)

func newTransform(lot *rand.Rand, s *stage) {
	var steps []step
	var spec []any
	for range 1 + lot.IntN(4) {
		one, do := newStep(lot)
		if lot.IntN(3) == 0 {
			when := newCondition(lot, 1)
			one["when"] = when.text
			inner := do
			do = func(e *ev) answer {
				switch when.of(e) {
				case yes:
					return inner(e)
				case failed:
					return failed
				}
				return yes
			}
		}
		steps, spec = append(steps, do), append(spec, one)
	}
	splits := lot.IntN(4) == 0
	if splits {
		spec = append(spec, map[string]any{"split": map[string]any{"list": "event.body.split(',')", "into": "body"}})
	}
	s.spec, s.ports = map[string]any{"steps": spec}, []string{"out"}
	rekeys := lot.IntN(4) == 0
	if rekeys {
		s.spec["key"] = "event.type"
	}
	s.process = func(e *ev, _ int) result {
		e = e.clone()
		for _, do := range steps {
			switch do(e) {
			case failed:
				return deadLetter("transform_error")
			case no:
				return ends(filtered)
			}
		}
		if rekeys {
			e.rekey(e.kind)
		}
		if !splits {
			return out(e)
		}
		r := ends(filtered)
		for i, word := range strings.Split(e.body, ",") {
			piece := e.clone()
			piece.id, piece.body = fmt.Sprintf("%s/%d", e.id, i), word
			r.made = append(r.made, piece)
		}
		return r
	}
}

func newStep(lot *rand.Rand) (spec map[string]any, do step) {
	name, other := pick(lot, names), pick(lot, names)
	switch lot.IntN(6) {
	case 0:
		c := newCondition(lot, 1)
		return map[string]any{"filter": c.text}, c.of
	case 1:
		return map[string]any{"set": map[string]any{"field": "attributes." + name, "expression": "event.type + '!'"}}, func(e *ev) answer {
			e.attributes[name] = e.kind + "!"
			return yes
		}
	case 2:
		n := 1 + lot.IntN(24)
		return map[string]any{"set": map[string]any{"field": "severity", "expression": strconv.Itoa(n)}}, func(e *ev) answer { e.severity = n; return yes }
	case 3:
		return map[string]any{"remove": []any{"attributes." + name, "body"}}, func(e *ev) answer {
			delete(e.attributes, name)
			e.body = ""
			return yes
		}
	case 4:
		return map[string]any{"rename": map[string]any{"from": "attributes." + name, "to": "attributes." + other}}, func(e *ev) answer {
			if v, ok := e.attributes[name]; ok {
				delete(e.attributes, name)
				e.attributes[other] = v
			}
			return yes
		}
	}
	return map[string]any{"set": map[string]any{"field": "subject", "expression": "event.attributes['" + name + "']"}}, func(e *ev) answer {
		text, ok := e.attributes[name].(string)
		if !ok {
			return failed
		}
		e.subject = text
		return yes
	}
}
