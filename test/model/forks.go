package model

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// newFork draws a pipeline in which branches come together again in a join, with stages before the fork and behind the join, and now and then another
// join behind the first.
func newFork(lot *rand.Rand) *pipeline {
	f := &fork{lot: lot, pipeline: &pipeline{partitions: pick(lot, []int{1, 2, 4})}}
	from := ingress
	for range lot.IntN(3) {
		from = f.stage(from, true)
	}
	end := f.join(from, "")
	for range lot.IntN(3) {
		end = f.stage(end, false)
	}
	if lot.IntN(3) == 0 {
		end = f.join(from, end)
	}
	if lot.IntN(3) == 0 {
		f.stage(end, false)
	}
	return f.pipeline
}

// fork is a pipeline while it is drawn.
type fork struct {
	*pipeline
	lot *rand.Rand
}

// stage adds a stage, and returns the port behind which the branch goes on.
func (f *fork) stage(from string, rekeys bool) string {
	kind := pick(f.lot, []string{"validate", "enrich", "route", "route", "transform", "transform", "transform", "experiment", "correlate", "analyze"})
	for {
		s := &stage{name: "s" + strconv.Itoa(len(f.stages)), kind: kind, from: []string{from}}
		makers[kind](f.lot, s)
		if kind == "correlate" || kind == "analyze" {
			s.ports = []string{"out"} // what they find: nothing
			if f.lot.IntN(4) > 0 {
				s.spec = maps.Clone(s.spec)
				s.spec["passThrough"] = true
				s.process = func(e *ev, _ int) result { return out(e) }
			}
		}
		if s.spec["key"] != nil && !rekeys { // the branches of a fork have the keys that it had
			continue
		}
		f.stages = append(f.stages, s)
		return s.name + "/" + pick(f.lot, s.ports)
	}
}

// join adds branches that begin at from, and a join of these and of another one, if that is named. It returns the port of the results.
func (f *fork) join(from, other string) string {
	s := &stage{kind: "join", ports: []string{"out"}}
	if other != "" {
		s.from = append(s.from, other)
	}
	for n := 2 + f.lot.IntN(3); len(s.from) < n; {
		end := from
		for range 1 + f.lot.IntN(3) {
			end = f.stage(end, false)
		}
		s.from = append(s.from, end)
		// Another port of the last stage may be a branch as well.
		for _, port := range f.stages[len(f.stages)-1].ports {
			if also := f.stages[len(f.stages)-1].name + "/" + port; also != end && f.lot.IntN(3) == 0 {
				s.from = append(s.from, also)
			}
		}
	}
	f.lot.Shuffle(len(s.from), func(i, k int) { s.from[i], s.from[k] = s.from[k], s.from[i] })
	s.name = "s" + strconv.Itoa(len(f.stages))
	newJoin(f.lot, s)
	f.stages = append(f.stages, s)
	return s.name + "/out"
}

// newJoin is a join that knows which branches are past an event: all of them, when the input is at its end. So what becomes of an event hangs on
// nothing but which branches it is on.
func newJoin(lot *rand.Rand, s *stage) {
	collects := lot.IntN(4) == 0
	s.spec = map[string]any{"deadline": "10m"}
	if collects {
		s.spec["merge"] = "Collect"
	}
	var answers map[string]map[int]*ev // by key and branch
	var order []string
	s.begin = func() { answers, order = map[string]map[int]*ev{}, nil }
	s.process = func(e *ev, input int) result {
		key := e.source + "\x00" + e.id
		if answers[key] == nil {
			answers[key] = map[int]*ev{}
			order = append(order, key)
		}
		if answers[key][input] != nil {
			panic("two answers of one branch: the input of a fork has no copies") // and what becomes of them hangs on when they come
		}
		answers[key][input] = e
		return ends(filtered)
	}
	s.end = func() (results []*ev) {
		for _, key := range order {
			results = append(results, s.together(answers[key], collects))
		}
		return results
	}
}

// together is the result of a join: the answer of the first branch with what the others add, or with all answers as a list.
func (s *stage) together(by map[int]*ev, collects bool) *ev {
	var answered, silent []string
	var all []*ev
	for branch, from := range s.from {
		name := strings.TrimSuffix(from, "/out")
		if by[branch] == nil {
			silent = append(silent, name)
			continue
		}
		answered, all = append(answered, name), append(all, by[branch])
	}
	e := all[0].clone()
	conflicts := map[string]bool{}
	if collects {
		e.attributes = map[string]any{}
		for _, a := range all {
			e.answers = append(e.answers, a.text())
		}
	} else {
		for _, a := range all {
			for _, name := range []string{"result", "answered", "silent", "conflicts"} {
				delete(a.attributes, "join."+name) // of a join before this one
				delete(e.attributes, "join."+name)
			}
		}
		for _, a := range all[1:] {
			e.add(a, conflicts)
		}
	}
	e.attributes["join.result"], e.attributes["join.answered"] = "complete", strings.Join(answered, ",")
	if len(silent) > 0 {
		e.attributes["join.result"], e.attributes["join.silent"] = "silent", strings.Join(silent, ",")
	}
	if len(conflicts) > 0 {
		e.attributes["join.conflicts"] = strings.Join(slices.Sorted(maps.Keys(conflicts)), ",")
	}
	return e
}

// add adds to e what it lacks and another one has. Where both have something and differ, e keeps its own.
func (e *ev) add(other *ev, conflicts map[string]bool) {
	for name, v := range other.attributes {
		if own, has := e.attributes[name]; !has {
			e.attributes[name] = v
		} else if own != v {
			conflicts["attributes."+name] = true
		}
	}
	for _, f := range []struct {
		name       string
		own, other *string
	}{{"type", &e.kind, &other.kind}, {"subject", &e.subject, &other.subject}, {"body", &e.body, &other.body}} {
		switch {
		case *f.other == "" || *f.own == *f.other:
		case *f.own == "":
			*f.own = *f.other
		default:
			conflicts[f.name] = true
		}
	}
	if len(e.answers) == 0 { // those of a join before this one
		e.answers = other.answers
	}
	if e.severity != other.severity {
		conflicts["severity_number"] = true
	}
}

// normal is e as the model sees it: without how long branches took, and without conflicts of what the model does not know, in the order of their names.
func (e *ev) normal() {
	for name, v := range e.attributes {
		if !strings.HasPrefix(name, "join.") {
			continue
		}
		if strings.HasSuffix(name, ".ms") {
			delete(e.attributes, name)
		}
		if name != "join.conflicts" {
			continue
		}
		known := slices.DeleteFunc(strings.Split(fmt.Sprint(v), ","), func(of string) bool {
			return !strings.HasPrefix(of, "attributes.") && !slices.Contains([]string{"type", "subject", "body", "severity_number"}, of)
		})
		slices.Sort(known)
		if e.attributes[name] = strings.Join(known, ","); len(known) == 0 {
			delete(e.attributes, name)
		}
	}
}

// once is the input without copies: the branches of a fork would answer twice, and what is made of that hangs on when they do.
func once(input []line) []line {
	seen := map[string]bool{}
	return slices.DeleteFunc(input, func(l line) bool {
		if l.e == nil {
			return false
		}
		again := seen[l.e.id]
		seen[l.e.id] = true
		return again
	})
}
