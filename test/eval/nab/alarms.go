package main

import (
	"fmt"
	"io"
	"time"

	"millrace.dev/millrace/test/eval/families"
	"millrace.dev/millrace/workers/analyze/novelty"
)

// ages are the columns of the table of false alarms: ages of a series, in values.
var ages = [...]int{300, 750, 2000, 10_000, families.Month, 6 * families.Month}

// row is what one threshold tells of clean series, on average over the families.
type row struct {
	perThousand  [len(ages) - 1]float64 // values of an age
	first, later float64                // per month of a series of one value a minute: the first, and those behind it
	worst        string                 // the family with most alarms behind the first month
	worstLater   float64
}

// quiets is one alarm for each threshold, as they look at the scores of one series.
type quiets struct {
	alarms []novelty.Alarm
	told   [][len(ages) - 1]float64
	first  []float64
}

// falseAlarms runs series of each family through a detector. months is how long each is.
func falseAlarms(thresholds []float64, seeds int) (rows []row, flat float64) {
	rows = make([]row, len(thresholds))
	all := families.All()
	share := 1 / float64(len(all)*seeds)
	for _, f := range all {
		later := make([]float64, len(thresholds))
		for seed := range seeds {
			q, flatlines := clean(&f, uint64(seed)+100, thresholds)
			flat += float64(flatlines) * share
			for i := range thresholds {
				for a := range q.told[i] {
					rows[i].perThousand[a] += q.told[i][a] * share * 1000 / float64(ages[a+1]-ages[a])
				}
				rows[i].first += q.first[i] * share
				months := float64(ages[len(ages)-1]-families.Month) / families.Month
				later[i] += q.told[i][len(ages)-2] / months / float64(seeds)
			}
		}
		for i := range rows {
			rows[i].later += later[i] / float64(len(all))
			if later[i] > rows[i].worstLater {
				rows[i].worst, rows[i].worstLater = f.Name, later[i]
			}
		}
	}
	return rows, flat / (float64(ages[len(ages)-1]) / families.Month)
}

// clean counts what is told of one series, one value a minute.
func clean(f *families.Family, seed uint64, thresholds []float64) (q quiets, flatlines int) {
	q = quiets{
		alarms: make([]novelty.Alarm, len(thresholds)), told: make([][len(ages) - 1]float64, len(thresholds)),
		first: make([]float64, len(thresholds)),
	}
	var d novelty.Detector
	var flat novelty.Flat
	next := f.New(seed)
	column := -1
	for n := range ages[len(ages)-1] {
		for column+2 < len(ages) && n >= ages[column+1] {
			column++
		}
		x := next()
		score := d.Add(x).Value
		if flat.Add(x) {
			flatlines++
		}
		for i, threshold := range thresholds {
			if !q.alarms[i].Tell(score, threshold, d.Age(), int64(n)*int64(time.Minute)) {
				continue
			}
			if column >= 0 {
				q.told[i][column]++
			}
			if n < families.Month {
				q.first[i]++
			}
		}
	}
	return q, flatlines
}

func printAlarms(out io.Writer, thresholds []float64, rows []row, flat float64) {
	fmt.Fprintf(out, "\nfalse alarms on clean series, %d families: in 1,000 values, by the age of a series in values;\n"+
		"in a month of a series of one value a minute (of one in 10 s: in five days)\n\n%-9s", len(families.All()), "threshold")
	for i := range ages[1:] {
		fmt.Fprintf(out, " %12s", fmt.Sprintf("%s-%s", short(ages[i]), short(ages[i+1])))
	}
	fmt.Fprintf(out, " %12s %12s   %s\n", "first month", "each later", "worst family later")
	for i, r := range rows {
		fmt.Fprintf(out, "%9g", thresholds[i])
		for _, v := range r.perThousand {
			fmt.Fprintf(out, " %12.3f", v)
		}
		fmt.Fprintf(out, " %12.2f %12.2f   %s (%.2f)\n", r.first, r.later, r.worst, r.worstLater)
	}
	fmt.Fprintf(out, "flatlines told in a month: %.3f\n", flat)
}

func short(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%.3gk", float64(n)/1000)
}
