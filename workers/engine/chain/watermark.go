package chain

import (
	"context"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// watermarks follow how far the inputs have come in the time of the ingress, where the planner has asked for that
// (config.Input.Writers). The watermark of an input is the least of those who write to it.
type watermarks struct {
	writer [][]int64 // the watermark of each writer, by input
	newest int64     // no event so far came of a later message of the ingress
	held   int64     // up to where the first stage holds nothing back; 0 = it holds nothing
	bare   bool      // some message of the step does not say what it holds
}

func newWatermarks(inputs []Input, lanes, partitions int) watermarks {
	w := watermarks{writer: make([][]int64, len(inputs))}
	for i, in := range inputs {
		n := in.Writers
		if lanes == 1 && in.From != config.Ingress { // it reads all partitions
			n *= partitions
		}
		w.writer[i] = make([]int64, n)
	}
	return w
}

// until is the watermark of an input; 0 = a writer has not been heard.
func (w *watermarks) until(input int) int64 {
	all := w.writer[input]
	if len(all) == 0 {
		return 0
	}
	least := all[0]
	for _, at := range all[1:] {
		least = min(least, at)
	}
	return least
}

// mark is what the lane may say of all that it was given.
func (w *watermarks) mark() progress.Mark {
	m := progress.Mark{Newest: w.newest}
	for i := range w.writer {
		if at := w.until(i); i == 0 || at < m.Until {
			m.Until = at
		}
	}
	if w.held > 0 {
		m.Until = min(m.Until, w.held)
	}
	if w.bare {
		m.Newest = 0
	}
	return m
}

// note takes over what a message says, and returns the bound of its events; 0 = unknown.
func (c *Chain) note(m *Message) (newest int64) {
	w := &c.watermarks
	if len(w.writer[m.Input]) == 0 {
		return 0
	}
	if c.inputs[m.Input].From == config.Ingress {
		// No two messages share a time, also where the clock of the server was set back.
		at := &w.writer[m.Input][0]
		*at = max(m.Time, *at+1)
		w.newest = max(w.newest, *at)
		return *at
	}
	mark, ok := markOf(m.Header)
	if at := c.writerOf(m.Input, m.Subject); ok && at >= 0 {
		w.writer[m.Input][at] = max(w.writer[m.Input][at], mark.After())
	}
	if mark.Newest == 0 && !IsMarker(m.Header) {
		w.bare = true
	}
	w.newest = max(w.newest, mark.Newest)
	return mark.Newest
}

func markOf(header map[string][]string) (progress.Mark, bool) {
	h := header[progress.HeaderWatermark]
	if len(h) != 1 {
		return progress.Mark{}, false
	}
	return progress.ParseMark(h[0])
}

// IsMarker says whether a message of a stage holds no events: it is there for what its headers say.
func IsMarker(header map[string][]string) bool {
	h, form := header[frame.HeaderEvents], header[event.HeaderContentType]
	return len(h) == 1 && h[0] == "0" && len(form) == 1 && form[0] == event.ContentTypeFrame
}

// Writers are the subjects of those who write to an input, whose watermarks the lane follows, in the order of Wrote.
func (c *Chain) Writers(input int, filter string) (subjects []string) {
	in, n := &c.inputs[input], len(c.watermarks.writer[input])
	if n == 0 || in.From == config.Ingress {
		return []string{filter}[:n]
	}
	base := strings.TrimRight(filter, ".*>")
	for i := range n {
		subject := base
		switch {
		case in.Repartitioned && c.lanes == 1:
			subject += "." + strconv.Itoa(i/in.Writers) + "." + strconv.Itoa(i%in.Writers)
		case in.Repartitioned || c.lanes == 1:
			subject += "." + strconv.Itoa(i)
		}
		subjects = append(subjects, subject)
	}
	return subjects
}

// writerOf is the number of the writer of a message; -1 = of none that is known.
func (c *Chain) writerOf(input int, subject string) int {
	in, n := &c.inputs[input], len(c.watermarks.writer[input])
	partition, lane, ok := c.wrote(in, subject)
	at := lane
	if c.lanes == 1 { // it reads all partitions
		at += partition * in.Writers
	}
	if !ok || lane >= in.Writers || at >= n {
		return -1
	}
	return at
}

// Wrote takes over what is known of a writer of an input when the lane begins.
func (c *Chain) Wrote(input, writer int, until int64) {
	at := &c.watermarks.writer[input][writer]
	*at = max(*at, until)
	if c.inputs[input].From == config.Ingress {
		c.watermarks.newest = max(c.watermarks.newest, *at)
	}
}

// Told takes over what the lane has said on an output.
func (c *Chain) Told(m progress.Mark) {
	c.watermarks.newest = max(c.watermarks.newest, m.Newest, m.After())
}

// Mark is what the lane may say when all that it was given so far is stored.
func (c *Chain) Mark() progress.Mark { return c.watermarks.mark() }

// Prime tells the first stage how far the inputs are when the lane begins. What it makes of that is stored.
func (c *Chain) Prime(ctx context.Context) bool {
	c.replaying = true
	defer func() { c.replaying = false }()
	c.memory = nil
	s := NewStep(len(c.nodes))
	for i := range c.inputs {
		if !c.tellStage(ctx, &cursor{s: s, in: i, now: time.UnixMilli(c.tick), replayed: true, partition: noPartition}) {
			return false
		}
	}
	return true
}

// tellStage tells the first stage how far the input of the cursor is, and has it make what follows from that.
func (c *Chain) tellStage(ctx context.Context, cur *cursor) bool {
	told, n := c.instances[0].watermarked, c.head
	if told == nil {
		return true
	}
	sr := &c.scratch[n.Index]
	if err := c.callWatermark(ctx, n, told, cur); err != nil {
		c.spoiled.Store(true)
		if c.panics.Allow(c.now()) {
			c.log.Error("the stage failed at a watermark", "stage", n.Stage, "error", err)
		}
		return true
	}
	before := len(sr.produced)
	sr.keep(&sr.batch, places{})
	cur.at = progress.Position{Seq: cur.at.Seq, Tick: cur.at.Tick}
	sr.made = c.produce(cur, n, sr.produced[before:], emptied(sr.made))
	return c.descend(ctx, cur, n, sr.made)
}

func (c *Chain) callWatermark(ctx context.Context, n *Node, told stage.Watermarked, cur *cursor) (err error) {
	b := &c.scratch[n.Index].batch
	b.Events, b.Now, b.Partition, b.Newest = nil, cur.now, cur.partition, time.Time{}
	b.Reset(1)
	ctx, cancel := context.WithTimeout(ctx, c.callTimeout)
	defer cancel()
	defer c.clocked(n)()
	defer c.recovered(&err)
	complete, err := told.Watermark(ctx, cur.in, ingressTime(c.watermarks.until(cur.in)), b)
	if c.watermarks.held = 0; !complete.IsZero() {
		c.watermarks.held = max(complete.UnixNano(), 1)
	}
	return err
}

// ingressTime is a time of the ingress; zero = unknown.
func ingressTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
