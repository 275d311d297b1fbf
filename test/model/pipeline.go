package model

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

const (
	ingress = "ingress"
	// sinkDir stands in manifests for the folder of a run.
	sinkDir = "/SINKS"
)

// pipeline is drawn by lot.
type pipeline struct {
	partitions int
	stages     []*stage
}

func newPipeline(lot *rand.Rand) *pipeline {
	p := &pipeline{partitions: pick(lot, []int{1, 2, 4})}
	free := []string{ingress}
	n := 2 + lot.IntN(7)
	for i := range n {
		s := &stage{name: "s" + strconv.Itoa(i), kind: pick(lot, ordinary)}
		if i > 0 && lot.IntN(5) == 0 {
			s.kind = pick(lot, []string{"sink", "correlate", "analyze"})
		}
		s.from = []string{pick(lot, free[max(0, len(free)-4):])}
		if other := pick(lot, free); i > 1 && lot.IntN(5) == 0 && other != s.from[0] {
			s.from = append(s.from, other)
		}
		makers[s.kind](lot, s)
		for _, port := range s.ports {
			free = append(free, s.name+"/"+port)
		}
		p.stages = append(p.stages, s)
	}
	return p
}

// manifest is the Pipeline as JSON. Files of sinks are below dir.
func (p *pipeline) manifest(dir string) []byte {
	var stages []any
	for _, s := range p.stages {
		stages = append(stages, map[string]any{"name": s.name, "from": s.from, s.kind: s.spec})
	}
	text, err := json.MarshalIndent(map[string]any{
		"apiVersion": "millrace.dev/v1alpha1", "kind": "Pipeline", "metadata": map[string]any{"name": "model"},
		"spec": map[string]any{"partitions": p.partitions, "stages": stages},
	}, "", " ")
	if err != nil {
		panic(err) // texts and numbers
	}
	return []byte(strings.ReplaceAll(string(text), sinkDir, dir))
}

// outcome is what the model says of a run.
type outcome struct {
	// ports hold events in the order in which they leave, by port.
	ports map[string][]*ev
	// ordered says of a port that order within a key is promised there: no stage before it has several inputs.
	ordered map[string]bool
	counts  map[string]*counts // by stage
}

// counts are those of one stage.
type counts struct {
	in, filtered, duplicates, kept int64
	dead                           map[string]int64
}

// run is the model itself. Stages are in an order in which they only read what is before them.
func (p *pipeline) run(input []line) *outcome {
	o := &outcome{ports: map[string][]*ev{}, ordered: map[string]bool{ingress: true}, counts: map[string]*counts{}}
	for _, l := range input {
		o.ports[ingress] = append(o.ports[ingress], l.e)
	}
	for _, s := range p.stages {
		if s.begin != nil {
			s.begin()
		}
		c := &counts{dead: map[string]int64{}}
		o.counts[s.name] = c
		ordered := len(s.from) == 1 && o.ordered[s.from[0]]
		for _, port := range s.ports {
			o.ordered[s.name+"/"+port] = ordered
			o.ports[s.name+"/"+port] = nil
		}
		for input, from := range s.from {
			for _, e := range o.ports[from] {
				c.in++
				if e == nil {
					c.dead["undecodable"]++
					continue
				}
				o.take(s, c, s.process(e.clone(), input))
			}
		}
		if s.end != nil {
			o.ports[s.name+"/out"] = append(o.ports[s.name+"/out"], s.end()...)
		}
	}
	return o
}

// keep adds what files of sinks hold, as what is on a port that is called kept.
func (p *pipeline) keep(o *outcome) {
	for _, s := range p.stages {
		if s.kind != "sink" {
			continue
		}
		for _, from := range s.from {
			for _, e := range o.ports[from] {
				if e != nil {
					o.ports[s.name+"/kept"] = append(o.ports[s.name+"/kept"], e)
				}
			}
		}
	}
}

func (o *outcome) take(s *stage, c *counts, r result) {
	switch {
	case r.reason != "":
		c.dead[r.reason]++
	case r.end == filtered:
		c.filtered++
	case r.end == duplicate:
		c.duplicates++
	case r.end == kept:
		c.kept++
	}
	for port, e := range r.to {
		o.ports[s.name+"/"+port] = append(o.ports[s.name+"/"+port], e)
	}
	if len(r.made) > 0 {
		o.ports[s.name+"/out"] = append(o.ports[s.name+"/out"], r.made...)
	}
}

// without is p without a stage, or nil when another one reads it.
func (p *pipeline) without(i int) *pipeline {
	name := p.stages[i].name + "/"
	for _, s := range p.stages {
		if slices.ContainsFunc(s.from, func(from string) bool { return strings.HasPrefix(from, name) }) {
			return nil
		}
	}
	q := *p
	q.stages = slices.Delete(slices.Clone(p.stages), i, i+1)
	if len(q.stages) == 0 {
		return nil
	}
	return &q
}
