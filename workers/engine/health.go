package engine

import (
	"slices"
	"strconv"
	"strings"
	"time"
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
		if p := *l.problem.Load(); p != "" {
			problems = append(problems, p)
		}
		if s := l.current.Load(); s != nil {
			waiting = append(waiting, s.out.Problems()...)
			if s.target != nil && s.target.Problem() != "" {
				problems = append(problems, s.target.Problem())
			}
		}
	}
	for _, inputs := range e.allInputs() {
		for _, in := range inputs {
			if s := in.State(); s.EverBound && s.Problem != "" {
				problems = append(problems, s.Problem)
			}
		}
	}
	if len(problems) > 0 {
		return false, lines(problems)
	}
	if len(waiting) > 0 {
		return true, "ok\n" + lines(waiting)
	}
	if len(lanes) == 0 {
		return true, "ok\nstanding by: other workers own all lanes"
	}
	return true, "ok"
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
	now, connected := e.now(), e.conn.IsConnected()
	for _, l := range e.allLanes() {
		s := l.current.Load()
		if s == nil {
			continue // it has not begun
		}
		if called := s.chain.InCall(now); called > e.wedgedAfter {
			return false, "lane " + strconv.Itoa(l.index) + " has been in one call of the stage for " + called.Round(time.Second).String()
		}
		if s.waits() || !s.ready.Load() {
			continue // the other lanes may be wedged all the same
		}
		if age := l.waited(now); connected && age > e.wedgedAfter {
			return false, "lane " + strconv.Itoa(l.index) + " has had messages in hand for " + age.Round(time.Second).String() + " without progress"
		}
	}
	return true, "ok"
}

// callTimeout is the deadline of one call of a stage: it gives up before the worker is taken for dead.
func (e *Engine) callTimeout() time.Duration { return e.wedgedAfter / 2 }

// waits says that something outside holds the session up: the back-off of a retry, another input, an output, or the target of the sink.
func (l *session) waits() bool {
	return l.target != nil && l.target.Problem() != "" || l.chain.Waiting() || l.merger != nil && l.merger.Holds() || len(l.out.Problems()) > 0
}
