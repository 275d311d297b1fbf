package engine

import (
	"strconv"
	"strings"
	"time"
)

// Ready says whether the worker can do its work: the stage has started, NATS is connected
// and every consumer is there. The text names what is missing, or, when it is ready, what
// it waits for (a full output stream does not make a worker unready: it is back-pressure).
func (e *Engine) Ready() (bool, string) {
	var problems []string
	switch {
	case e.ended.Load():
		return false, "stopped"
	case !e.started.Load():
		return false, "stage is starting"
	case !e.conn.IsConnected():
		problems = append(problems, "not connected to NATS")
	}
	for _, in := range e.inputs {
		in.mu.Lock()
		if in.draining {
			problems = append(problems, "draining")
		} else if in.problem != "" {
			problems = append(problems, in.problem)
		}
		in.mu.Unlock()
	}
	if len(problems) > 0 {
		return false, strings.Join(problems, "\n")
	}
	if waiting := e.pub.waiting(); len(waiting) > 0 {
		return true, "ok\n" + strings.Join(waiting, "\n")
	}
	return true, "ok"
}

// Alive says whether the process should go on. It should not when a lane has been in one
// call of the stage for longer than WedgedAfter, or when messages are in hand that long and
// nothing explains it: no output waits for NATS and no event for its back-off.
func (e *Engine) Alive() (bool, string) {
	now := e.now()
	for _, l := range e.lanes {
		if since := l.busySince.Load(); since != 0 && now.Sub(time.Unix(0, since)) > e.wedgedAfter {
			return false, "lane " + strconv.Itoa(l.index) + " has been in one call of the stage for " + now.Sub(time.Unix(0, since)).Round(time.Second).String()
		}
	}
	if e.pub.outstanding() > 0 || !e.parked.empty() || !e.conn.IsConnected() {
		return true, "ok"
	}
	for _, in := range e.inputs {
		if age := now.Sub(time.Unix(0, in.oldest(now.UnixNano()))); age > e.wedgedAfter && e.stalled(now) {
			return false, "messages of " + in.name() + " have been in hand for " + age.Round(time.Second).String() + " without progress"
		}
	}
	return true, "ok"
}

// stalled says that nothing was acknowledged for WedgedAfter.
func (e *Engine) stalled(now time.Time) bool {
	e.stats.mu.Lock()
	defer e.stats.mu.Unlock()
	return now.Sub(time.Unix(0, e.stats.progress)) > e.wedgedAfter
}

// oldest is when the message that is longest in hand was received; now when there is none.
func (in *input) oldest(now int64) int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	oldest := now
	for m := in.shelf.first; m != nil; m = m.next {
		oldest = min(oldest, m.received)
	}
	return oldest
}
