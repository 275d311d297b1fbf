package local

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
)

const (
	summaryInsights = 12
	summaryEvidence = 5
)

// printSummary writes what a person wants to know when a run is over.
func printSummary(w io.Writer, r *Report, order []string, insights []*eventv1.Event) {
	of := ""
	if r.Past != nil {
		of = fmt.Sprintf(" of %s, %s to %s,", r.Past.Until.Sub(r.Past.Since).Round(time.Second), r.Past.Since.UTC().Format(time.RFC3339), r.Past.Until.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(w, "\n%s: %s events%s in %.1f s (%s/s)%s\n", r.Pipeline, grouped(r.EventsIn), of, r.Seconds,
		grouped(int64(r.EventsPerSecond)), verdict(r))
	if r.expired() {
		fmt.Fprintln(w, "what has expired is not counted (spec.streams.maxAge)")
	}
	if r.Past == nil {
		fmt.Fprintf(w, "latency from ingress to last stage: p50 %s, p99 %s\n", millis(r.LatencyP50), millis(r.LatencyP99))
	}
	fmt.Fprintln(w)

	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "stage\tin\tout\tfiltered\tduplicates\tdead letters\t")
	if r.Past == nil {
		fmt.Fprint(t, "p50\tp99\t")
	}
	fmt.Fprintln(t)
	for _, name := range order {
		s := r.Stages[name]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t", name, grouped(s.In), grouped(s.Out), grouped(s.Filtered),
			grouped(s.Duplicates), grouped(s.DeadLettered))
		if r.Past == nil {
			fmt.Fprintf(t, "%s\t%s\t", millis(s.P50), millis(s.P99))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	printDetails(w, r, order)
	printInsights(w, insights)
}

func verdict(r *Report) string {
	switch {
	case r.Lost == 0 && r.Duplicated == 0 && r.Backlog == 0:
		return ": nothing lost, nothing doubled"
	case r.Lost == 0 && r.Duplicated == 0:
		return fmt.Sprintf(": nothing lost, nothing doubled, %s still to do", grouped(r.Backlog))
	default:
		return fmt.Sprintf(": %s LOST, %s DOUBLED (the ledger in --report says where)", grouped(r.Lost), grouped(r.Duplicated))
	}
}

func printDetails(w io.Writer, r *Report, order []string) {
	for _, name := range order {
		if late := r.Stages[name].Late; late > 0 {
			fmt.Fprintf(w, "\n%s: %s events came too late and are in no window (window.lateness)\n", name, grouped(late))
		}
		ports := maps.Clone(r.Stages[name].Ports)
		maps.DeleteFunc(ports, func(port string, _ int64) bool { return slices.Contains(config.FixedPorts(), port) })
		if len(ports) > 0 {
			fmt.Fprintf(w, "\nports of %s: %s\n", name, counts(ports))
		}
		if reasons := r.Stages[name].Reasons; len(reasons) > 0 {
			fmt.Fprintf(w, "\ndead letters of %s: %s\n", name, counts(reasons))
		}
	}
}

// counts lists numbers of events by name.
func counts(of map[string]int64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, grouped(of[name])+" "+name)
	}
	return strings.Join(parts, ", ")
}

func printInsights(w io.Writer, insights []*eventv1.Event) {
	if len(insights) == 0 {
		fmt.Fprintln(w, "\nno insights")
		return
	}
	insights = slices.Clone(insights)
	slices.SortStableFunc(insights, func(a, b *eventv1.Event) int {
		return cmp.Or(cmp.Compare(b.GetSeverityNumber(), a.GetSeverityNumber()),
			cmp.Compare(b.GetInsight().GetCount(), a.GetInsight().GetCount()),
			cmp.Compare(a.GetInsight().GetFirstSeenUnixNano(), b.GetInsight().GetFirstSeenUnixNano()),
			cmp.Compare(a.GetId(), b.GetId()))
	})
	fmt.Fprintf(w, "\ninsights: %d", len(insights))
	if len(insights) > summaryInsights {
		fmt.Fprintf(w, ", the %d most severe", summaryInsights)
		insights = insights[:summaryInsights]
	}
	fmt.Fprintln(w)
	for _, e := range insights {
		printInsight(w, e)
	}
}

func printInsight(w io.Writer, e *eventv1.Event) {
	in := e.GetInsight()
	fmt.Fprintf(w, "\n  %-5s %s\n", e.GetSeverityText(), in.GetTitle())
	if in.GetSummary() != "" {
		fmt.Fprintf(w, "        %s\n", in.GetSummary())
	}
	fmt.Fprintf(w, "        rule %s, confidence %.2f (%s)\n", in.GetRuleId(), in.GetConfidence(), in.GetConfidenceMethod())
	for i, ev := range in.GetEvidence() {
		if i == summaryEvidence {
			fmt.Fprintf(w, "          and %d more\n", len(in.GetEvidence())-i)
			break
		}
		at := time.Unix(0, int64(ev.GetTimeUnixNano())).UTC().Format("15:04:05.000")
		fmt.Fprintf(w, "          %s  %s  %s  %s\n", at, ev.GetType(), entityName(ev.GetEntity()), ev.GetText())
	}
}

func entityName(e *eventv1.EntityRef) string {
	switch {
	case e.GetName() == "":
		return "-"
	case e.GetNamespace() == "":
		return e.GetKind() + "/" + e.GetName()
	default:
		return e.GetKind() + "/" + e.GetNamespace() + "/" + e.GetName()
	}
}

func millis(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.0f s", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f ms", ms)
	}
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
