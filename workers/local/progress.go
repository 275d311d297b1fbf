package local

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// stageView is what the progress view shows of one stage.
type stageView struct {
	name         string
	in           int64
	lag          int64
	deadLettered int64
	p50, p99     float64 // milliseconds
}

// progress shows rate, lag and latency per stage while a run goes on: a table that is
// redrawn on a terminal, one plain line every few seconds otherwise.
type progress struct {
	w        io.Writer
	terminal bool
	title    string
	// look tells the events that came in, whether the ingress is full, and the stages.
	look func() (in int64, full bool, stages []stageView)

	started time.Time
	last    time.Time
	lastIn  map[string]int64
	lines   int
}

// run draws until ctx ends.
func (p *progress) run(ctx context.Context) {
	every := 2 * time.Second
	if p.terminal {
		every = 500 * time.Millisecond
	}
	p.started = time.Now()
	p.last, p.lastIn = p.started, map[string]int64{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if p.terminal {
				p.draw(time.Now())
			}
			return
		case now := <-tick.C:
			p.draw(now)
		}
	}
}

func (p *progress) draw(now time.Time) {
	in, full, stages := p.look()
	waiting := ""
	if full {
		waiting = "  ingress full, waiting"
	}
	seconds := max(now.Sub(p.last).Seconds(), 1e-3)
	rate := func(key string, n int64) string {
		r := float64(n-p.lastIn[key]) / seconds
		p.lastIn[key] = n
		return grouped(int64(r)) + "/s"
	}
	var b strings.Builder
	if p.terminal {
		p.table(&b, now, in, waiting, stages, rate)
	} else {
		fmt.Fprintf(&b, "%s in=%d %s%s", now.Sub(p.started).Round(time.Second), in, rate("", in), waiting)
		for _, s := range stages {
			fmt.Fprintf(&b, " | %s %s lag=%d p99=%s", s.name, rate(s.name, s.in), s.lag, millis(s.p99))
		}
		b.WriteByte('\n')
	}
	p.last = now
	_, _ = io.WriteString(p.w, b.String())
}

func (p *progress) table(b *strings.Builder, now time.Time, in int64, waiting string, stages []stageView, rate func(string, int64) string) {
	if p.lines > 0 {
		fmt.Fprintf(b, "\x1b[%dA\x1b[J", p.lines) // back to where the table began, and clear
	}
	fmt.Fprintf(b, "%s  %s  in %s  %s%s\n", p.title, now.Sub(p.started).Round(time.Second), grouped(in), rate("", in), waiting)
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "stage\trate\tlag\tp50\tp99\tdead letters\t")
	for _, s := range stages {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", s.name, rate(s.name, s.in), grouped(s.lag), millis(s.p50), millis(s.p99), grouped(s.deadLettered))
	}
	_ = t.Flush()
	p.lines = len(stages) + 2
}
