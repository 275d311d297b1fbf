package top

import (
	"context"
	"math"
	"time"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/cli"
)

// Reading is what -o json prints: a reading, whose edges say what they are.
type Reading struct {
	view.Name
	At       time.Time        `json:"at"`
	Stages   []view.StageFlow `json:"stages"`
	Edges    []ReadingEdge    `json:"edges"`
	Problems []string         `json:"problems,omitempty"`
}

// ReadingEdge is an edge with what flows on it.
type ReadingEdge struct {
	view.Edge
	view.EdgeFlow
}

// plain prints each reading, or one.
func plain(ctx context.Context, from reader, of view.Name, out *cli.Output, once bool) error {
	n := 0
	return watch(ctx, from, of, func(g *view.Graph, f *view.Flow) error {
		if n++; once && n == 1 {
			return nil
		}
		if err := write(g, f, out); err != nil {
			return err
		}
		if once {
			return errEnough
		}
		return nil
	})
}

func write(g *view.Graph, f *view.Flow, out *cli.Output) error {
	for _, p := range f.Problems {
		if !out.JSON() {
			out.Notice("%s", cli.Safe(p))
		}
	}
	if out.JSON() {
		r := Reading{Name: g.Name, At: f.At, Stages: f.Stages, Problems: f.Problems, Edges: []ReadingEdge{}}
		for i := range min(len(g.Edges), len(f.Edges)) {
			r.Edges = append(r.Edges, ReadingEdge{g.Edges[i], f.Edges[i]})
		}
		return out.Value(r)
	}
	all := rowsOf(g, f)
	rows := [][]string{append([]string{}, headers...)}
	rows[0] = append(rows[0], "WHY")
	for i := range all {
		rows = append(rows, append(all[i].cells(), cli.Safe(all[i].why)))
	}
	ingress := unknown
	if len(f.Edges) > 0 {
		ingress = number(f.Edges[0].Events)
	}
	if err := out.Line("%s  %s  %s events/s in", f.At.Local().Format(time.TimeOnly), g.Name, rate(ingress)); err != nil {
		return err
	}
	for i, line := range columns(rows, 2) {
		if i > 0 {
			line = out.Paint(color(all[i-1].health), line)
		}
		if err := out.Line("%s", line); err != nil {
			return err
		}
	}
	return out.Line("")
}

// color is that of a health.
func color(health string) cli.Color {
	switch health {
	case view.HealthStuck, view.HealthFailing:
		return cli.Red
	case view.HealthSlow:
		return cli.Yellow
	case view.HealthOK:
		return 0
	}
	return cli.Faint
}

// nan orders what is not known behind everything else.
func nan(v float64) float64 {
	if math.IsNaN(v) {
		return -1
	}
	return v
}
