package chaos

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// row is one run in the report.
type row struct {
	fault string
	seed  uint64
	tally tally
}

// ok says whether nothing was lost, doubled or disordered, and nothing else is wrong.
func (r *row) ok() bool {
	t := &r.tally
	return t.lost == 0 && t.doubled == 0 && t.disorder == 0 && len(t.problems) == 0
}

// report writes the table of all runs.
func report(out io.Writer, rows []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\tseed\tevents\tduplicates\tdead\tderived\trefused\tretried\tpause\ttook\tlost\tdoubled\tdisordered\t")
	var sum tally
	for i := range rows {
		t := &rows[i].tally
		write(w, rows[i].fault, fmt.Sprint(rows[i].seed), t)
		sum.in += t.in
		sum.duplicates += t.duplicates
		sum.dead += t.dead
		sum.derived += t.derived
		sum.refused += t.refused
		sum.repeated += t.repeated
		sum.lost += t.lost
		sum.doubled += t.doubled
		sum.disorder += t.disorder
		sum.took += t.took
		sum.pause = max(sum.pause, t.pause)
	}
	write(w, fmt.Sprintf("%d runs", len(rows)), "", &sum)
	return w.Flush()
}

func write(w io.Writer, name, seed string, t *tally) {
	fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\t%d\t%d\t\n", name, seed, t.in, t.duplicates, t.dead, t.derived,
		t.refused, t.repeated, t.pause.Round(10*time.Millisecond), t.took.Round(100*time.Millisecond), t.lost, t.doubled, t.disorder)
}
