package top

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/config"
)

// row is a stage in the table. Numbers that are not known are NaN.
type row struct {
	name, kind, health, why string
	in, out, dead           float64 // events a second
	lag                     float64 // events
	oldest, p50, p99        float64 // seconds
	workers                 string
	place                   int
}

// rowsOf are the stages in the order of the graph.
func rowsOf(g *view.Graph, f *view.Flow) []row {
	rows := make([]row, 0, len(g.Stages))
	for i := range g.Stages {
		s := &g.Stages[i]
		r := row{name: s.Name, kind: s.Kind, health: view.HealthUnknown, place: i, in: unknown, out: unknown, dead: unknown, lag: unknown, oldest: unknown, p50: unknown, p99: unknown}
		if i < len(f.Stages) {
			one := &f.Stages[i]
			r.health, r.why, r.workers, r.dead = one.Health, one.Why, workers(one), number(one.DeadLetters)
			r.p50, r.p99 = seconds(one.P50), seconds(one.P99)
		}
		last := ""
		for k := range g.Edges {
			if k >= len(f.Edges) {
				break
			}
			e, flow := &g.Edges[k], &f.Edges[k]
			if e.To == s.Name {
				r.in, r.lag = plus(r.in, number(flow.Events)), plus(r.lag, count(flow.Lag))
				if age := seconds(flow.OldestAge); !math.IsNaN(age) {
					r.oldest = max(age, zero(r.oldest))
				}
			}
			if e.From == s.Name && e.Port != last && e.Port != config.PortDeadLetter && e.Port != config.PortOverflow {
				r.out = plus(r.out, number(flow.Events))
				last = e.Port
			}
		}
		rows = append(rows, r)
	}
	return rows
}

var unknown = math.NaN()

func zero(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// plus adds what is known.
func plus(a, b float64) float64 {
	if math.IsNaN(b) {
		return a
	}
	return zero(a) + b
}

func number(v *float64) float64 {
	if v == nil {
		return unknown
	}
	return *v
}

func count(v *int64) float64 {
	if v == nil {
		return unknown
	}
	return float64(*v)
}

func seconds(v *view.Seconds) float64 {
	if v == nil {
		return unknown
	}
	return time.Duration(*v).Seconds()
}

func workers(s *view.StageFlow) string {
	have, wanted := "?", ""
	if s.Workers != nil {
		have = strconv.Itoa(*s.Workers)
	}
	if s.Wanted != nil && (s.Workers == nil || *s.Wanted != *s.Workers) {
		wanted = "/" + strconv.Itoa(*s.Wanted)
	}
	if have+wanted == "?" {
		return "-"
	}
	return have + wanted
}

// The column headers.
var headers = []string{"STAGE", "KIND", "IN/S", "OUT/S", "LAG", "OLDEST", "P50", "P99", "WORKERS", "DEAD/S", "HEALTH"}

func (r *row) cells() []string {
	return []string{r.name, r.kind, rate(r.in), rate(r.out), whole(r.lag), duration(r.oldest), duration(r.p50), duration(r.p99), r.workers, rate(r.dead), r.health}
}

// rate is a number of events a second.
func rate(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v > 0 && v < 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return whole(v)
}

// whole is a number with separators of thousands.
func whole(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	text := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// duration is a time in the unit that suits it.
func duration(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v < 0.0995:
		return strconv.FormatFloat(v*1000, 'f', 1, 64) + " ms"
	case v < 1:
		return strconv.FormatFloat(v*1000, 'f', 0, 64) + " ms"
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64) + " s"
	case v < 100*60:
		return strconv.FormatFloat(v/60, 'f', 0, 64) + " min"
	}
	return strconv.FormatFloat(v/3600, 'f', 0, 64) + " h"
}

// bytes is an amount of data.
func bytes(v *uint64) string {
	if v == nil {
		return "-"
	}
	size, unit := float64(*v), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%.0f B", size)
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}

// columns lays cells out: the first two to the left, numbers to the right.
func columns(rows [][]string, left int) []string {
	widths := []int{}
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	lines := make([]string, len(rows))
	for k, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			space := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i > 0 {
				b.WriteString("  ")
			}
			if i < left || i == len(widths)-1 {
				b.WriteString(cell + space)
			} else {
				b.WriteString(space + cell)
			}
		}
		lines[k] = strings.TrimRight(b.String(), " ")
	}
	return lines
}
