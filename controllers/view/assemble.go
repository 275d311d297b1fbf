package view

import (
	"math"
	"slices"
	"time"

	"millrace.dev/millrace/workers/config"
)

// flow makes a Flow of what was read.
func (r *reading) flow() *Flow {
	g := GraphOf(r.layout)
	f := &Flow{At: r.serverTime(), Graph: g.Revision, Stages: make([]StageFlow, 0, len(g.Stages)), Edges: make([]EdgeFlow, 0, len(g.Edges))}
	r.rates()
	for i := range g.Edges {
		f.Edges = append(f.Edges, r.edge(&g.Edges[i]))
	}
	for i := range r.layout.Stages {
		f.Stages = append(f.Stages, r.stageFlow(&r.layout.Stages[i], g, f))
	}
	for i := range f.Stages { // once the stages are known in whose workers they run
		r.follow(f, i)
	}
	f.Problems = r.problemTexts()
	return f
}

// serverTime is the time of the server, which tells how old messages are; of this process when no stream could be read.
func (r *reading) serverTime() time.Time {
	var at time.Time
	for _, s := range r.streams {
		if s.At.After(at) {
			at = s.At
		}
	}
	if at.IsZero() {
		return r.now.UTC()
	}
	return at
}

// rates finds out how many events each port was given a second.
func (r *reading) rates() {
	for _, p := range r.allPorts() {
		now, ok := r.streams[p.Stream]
		before, known := r.probe.streams[p.Stream]
		seen := r.probe.ports[p.String()]
		took := now.At.Sub(before.At).Seconds()
		if !ok || !known || seen == nil || !before.Created.Equal(now.Created) || before.Last > now.Last || took <= 0 || before.ports != now.ports {
			continue
		}
		messages := stored(&before, &now, p)
		mean := seen.mean()
		if n := len(seen.newest); n > 0 && float64(n) >= messages { // all of them were looked at
			var sum int64
			for _, m := range seen.newest[max(0, n-int(math.Round(messages))):] {
				sum += m.events
			}
			mean = float64(sum) / max(math.Round(messages), 1)
		}
		if rate := messages * mean / took; messages < 0.5 || mean > 0 || len(seen.sizes.all) > 0 {
			seen.rate = &rate
		}
	}
}

// edge is what flows on an edge.
func (r *reading) edge(e *Edge) EdgeFlow {
	var f EdgeFlow
	port := e.From + "/" + e.Port
	if e.From == PortIngress {
		port = PortIngress
	}
	seen := r.probe.ports[port]
	s, ok := r.streams[e.Stream]
	if e.Stream == "" || !ok || seen == nil {
		return f
	}
	f.Events, f.Bytes, f.Messages, f.PortMessages = seen.rate, new(s.Bytes), new(s.Messages), new(seen.count)
	st, in := r.input(e.To, port)
	list := r.lists[e.Stream]
	if in == nil || list == nil {
		return f
	}
	waiting := outstanding(list, in)
	if waiting == 0 {
		f.Lag = new(int64(0))
		return f
	}
	oldest, found := r.oldest[inputKey(st.Name, in)]
	mean := seen.mean()
	switch {
	case found && (waiting == 1 || mean == 0):
		mean = float64(oldest.events)
	case found:
		mean = (mean + float64(oldest.events)) / 2
	}
	f.Lag = new(int64(math.Round(mean * float64(waiting))))
	if found && *f.Lag > 0 {
		f.OldestAge = new(Seconds(max(r.serverTime().Sub(oldest.stored), 0)))
	}
	return f
}

func (r *reading) input(stage, port string) (*StageLayout, *InputLayout) {
	for i := range r.layout.Stages {
		if s := &r.layout.Stages[i]; s.Name == stage {
			for k := range s.Inputs {
				if s.Inputs[k].From == port {
					return s, &s.Inputs[k]
				}
			}
		}
	}
	return nil, nil
}

// stageFlow is what a stage does.
func (r *reading) stageFlow(s *StageLayout, g *Graph, f *Flow) StageFlow {
	seen := r.probe.stage(s.Name)
	out := StageFlow{Stage: s.Name}
	out.P50, out.P99 = seen.quantiles(r.now)
	if dead := r.probe.ports[s.Name+"/"+config.PortDeadLetter]; dead != nil {
		out.DeadLetters = dead.rate
	}
	workers := s.Name
	if s.Head != "" {
		workers = s.Head
	}
	out.Workers, out.Wanted = r.workersOf(workers, s.Replicas)
	if b := r.tables[workers].breakers.Longest; b != nil {
		out.BreakerOpen, out.Breaker = new(b.Since), b.Target
	}
	out.Processed = r.processed(s)
	r.judge(s, seen, g, f, &out)
	return out
}

// workersSilent is after how long a table of leases that nobody writes any more says that there are no workers: they write every second.
const workersSilent = 10 * time.Second

// workersOf is how many workers a stage has, and should have.
func (r *reading) workersOf(stage string, planned int32) (have, wanted *int) {
	if w, ok := r.starts[stage]; ok {
		return w.Have, w.Wanted
	}
	if planned > 0 {
		wanted = new(int(planned))
	}
	t, ok := r.tables[stage]
	switch {
	case !ok:
		return nil, wanted
	case r.now.Sub(t.since) >= workersSilent:
		return new(0), wanted
	}
	return new(t.workers), wanted
}

// processed is how many events a second the stage has acknowledged; nil when that is not known.
func (r *reading) processed(s *StageLayout) *float64 {
	var sum float64
	known := false
	for i := range s.Inputs {
		in := &s.Inputs[i]
		now, before := r.streams[in.Stream], r.probe.streams[in.Stream]
		took := now.At.Sub(before.At).Seconds()
		list, had := r.lists[in.Stream], r.probe.consumers[in.Stream]
		if in.Stream == "" || list == nil || had == nil || took <= 0 || now.At.IsZero() || before.At.IsZero() {
			continue
		}
		known = true
		for _, c := range in.Consumers {
			if a, b := list[c.Durable].Acked, had[c.Durable].Acked; a > b {
				sum += float64(a-b) / took * r.probe.ports[in.From].mean()
			}
		}
	}
	if !known {
		return nil
	}
	return &sum
}

// timed is how long an output took.
type timed struct {
	at     time.Time
	took   time.Duration
	events int64
}

// What is remembered for the latency of a stage.
const (
	latenciesKept = 256
	latencyWindow = time.Minute
)

// quantiles are the median and the 99th percentile of the last minute, by events.
func (s *stageSeen) quantiles(now time.Time) (p50, p99 *Seconds) {
	var all []timed
	var sum int64
	for _, t := range s.latencies.all {
		if now.Sub(t.at) <= latencyWindow {
			all = append(all, t)
			sum += t.events
		}
	}
	if sum == 0 {
		return nil, nil
	}
	slices.SortFunc(all, func(a, b timed) int { return int(min(max(a.took-b.took, -1), 1)) })
	at := func(q float64) *Seconds {
		var n int64
		for _, t := range all {
			if n += t.events; float64(n) >= q*float64(sum) {
				return new(Seconds(t.took))
			}
		}
		return new(Seconds(all[len(all)-1].took))
	}
	return at(0.5), at(0.99)
}
