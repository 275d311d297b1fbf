package top

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/cli"
	"millrace.dev/millrace/workers/config"
)

// eventsKept is how many events of a tap are kept for the screen.
const eventsKept = 256

// ports are those of the selected stage that a stream stores, by the names of a tap: where it stores first, then what it reads.
func (s *screen) ports() (all []string) {
	if s.graph == nil || s.selected == "" {
		return nil
	}
	var out, last, in []string
	for i := range s.graph.Edges {
		e := &s.graph.Edges[i]
		name := e.From + "/" + e.Port
		if e.From == view.PortIngress {
			name = view.PortIngress
		}
		switch {
		case e.Stream == "":
		case e.From == s.selected && (e.Port == config.PortDeadLetter || e.Port == config.PortOverflow):
			last = append(last, name)
		case e.From == s.selected:
			out = append(out, name)
		case e.To == s.selected:
			in = append(in, name)
		}
	}
	for _, name := range slices.Concat(out, last, in) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// tap has the events of another port of the selected stage shown: the one behind that of now, or the first one.
func (s *screen) tap() {
	ports := s.ports()
	if len(ports) == 0 {
		s.tapped = ""
		return
	}
	s.tapped = ports[(slices.Index(ports, s.tapped)+1)%len(ports)]
}

// tapLines are the events that are seen, the newest at the bottom.
func (s *screen) tapLines(room int) []line {
	about := fmt.Sprintf("%s, as it is stored: %s events", s.tapped, whole(float64(s.seen.count)))
	if s.seen.skipped > 0 {
		about += fmt.Sprintf(", and %s messages left out: they come faster than they can be shown", whole(float64(s.seen.skipped)))
	}
	all := []line{{text: about, bold: true}}
	if s.seen.problem != "" {
		return append(all, line{text: cli.Safe(s.seen.problem), color: cli.Red})
	}
	if s.seen.count == 0 {
		return append(all, line{text: "waiting for events", color: cli.Faint})
	}
	events := s.seen.events
	for _, text := range events[max(len(events)-max(room-1, 0), 0):] {
		all = append(all, line{text: text})
	}
	return all
}

// seen is what a tap has shown.
type seen struct {
	events  []string // the newest ones, oldest first
	count   int
	skipped uint64 // messages
	problem string
}

// tapping is a tap at work; the zero one is at none.
type tapping struct {
	port string
	stop context.CancelFunc

	mu   sync.Mutex
	seen seen
}

// follow has the tap be of a port, and returns what it has seen of it. An empty port ends it.
func (t *tapping) follow(ctx context.Context, from reader, of view.Name, port string) seen {
	if port != t.port {
		if t.stop != nil {
			t.stop()
		}
		t.port, t.stop = port, nil
		t.mu.Lock()
		t.seen = seen{}
		t.mu.Unlock()
		if port != "" {
			var running context.Context
			running, t.stop = context.WithCancel(ctx)
			go t.run(running, from, of, port)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.seen
	now.events = slices.Clone(now.events)
	return now
}

func (t *tapping) run(ctx context.Context, from reader, of view.Name, port string) {
	o := view.TapOptions{Follow: true}
	if port != view.PortIngress {
		o.Stage, o.Port, _ = strings.Cut(port, "/")
	}
	err := from.Tap(ctx, of, o, func(e *view.Stored) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		if ctx.Err() != nil { // another port is shown
			return ctx.Err()
		}
		t.seen.count++
		t.seen.skipped += e.Skipped
		t.seen.events = append(t.seen.events, cli.EventLine(e))
		if n := len(t.seen.events); n > eventsKept {
			t.seen.events = slices.Delete(t.seen.events, 0, n-eventsKept)
		}
		return nil
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		t.seen.problem = err.Error()
	}
}
