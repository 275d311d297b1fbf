package engine

import (
	"slices"
	"strings"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// Ready says whether the worker can do its work: the stages have started, NATS is connected
// and every lane that it owns has its consumers. A worker that owns none stands by, and is
// ready. The text names what is missing, or, when it is ready, what it waits for (a full
// output stream does not make a worker unready: it is back-pressure).
func (e *Engine) Ready() (bool, string) {
	var problems, waiting []string
	switch {
	case e.ended.Load():
		return false, "stopped"
	case !e.started.Load():
		return false, "stage is starting"
	case !e.conn.IsConnected():
		problems = append(problems, "not connected to NATS")
	}
	e.mu.Lock()
	if e.draining {
		problems = append(problems, "draining")
	}
	e.mu.Unlock()
	if e.keeper != nil {
		if p := e.keeper.Problem(); p != "" {
			problems = append(problems, p)
		}
	}
	lanes := e.allLanes()
	for _, l := range lanes {
		why, outputs := l.Problems()
		problems, waiting = append(problems, why...), append(waiting, outputs...)
	}
	if len(problems) > 0 {
		return false, lines(problems)
	}
	if waiting = append(waiting, e.notes()...); len(waiting) > 0 {
		return true, "ok\n" + lines(waiting)
	}
	if len(lanes) == 0 {
		return true, "ok\nstanding by: other workers own all lanes"
	}
	return true, "ok"
}

// notes are what stages without state say of themselves (stage.Noter).
func (e *Engine) notes() (all []string) {
	for i, s := range e.worker.Edition.Load().Shared {
		n, ok := s.(stage.Noter)
		if !ok {
			continue
		}
		for _, note := range n.Notes() {
			all = append(all, "stage "+e.worker.Nodes[i].Config.Stage+": "+note)
		}
	}
	return all
}

// maxTarget bounds the name of what is open: a table of leases has room for all workers.
const maxTarget = 64

// open is the breaker of the stages that has not been closed for the longest time, if there is one.
func (e *Engine) open() *config.OpenBreaker {
	var longest *config.OpenBreaker
	for _, s := range e.worker.Edition.Load().Shared {
		b, ok := s.(stage.Breaking)
		if !ok {
			continue
		}
		for _, o := range b.Open() {
			if longest == nil || o.Since.Before(longest.Since) {
				o.Target = o.Target[:min(len(o.Target), maxTarget)]
				longest = &o
			}
		}
	}
	return longest
}

// lines joins texts, each once.
func lines(texts []string) string {
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), "\n")
}

// Alive says whether the process should go on. It should not when any lane has been in one
// call of a stage for longer than WedgedAfter, or has had messages in hand that long without an
// acknowledgement, and nothing explains it: none of its outputs waits for NATS and none of its events
// for a back-off.
func (e *Engine) Alive() (bool, string) {
	for _, l := range e.allLanes() {
		if why := l.Wedged(e.worker.WedgedAfter); why != "" {
			return false, why
		}
	}
	return true, "ok"
}
