package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/internal/pause"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/config/usage"
)

// watchInterval is how often incidents are asked for with -w.
const watchInterval = 2 * time.Second

// IncidentsCommand is `millrace incidents`.
func IncidentsCommand() *cobra.Command {
	var target Target
	var out Output
	var o view.IncidentOptions
	var since string
	var watch, evidence bool
	now := time.Now
	cmd := &cobra.Command{
		Use:   "incidents PIPELINE",
		Short: "List what correlate and analyze have found",
		Long: `Incidents lists the newest revision of each insight, the newest first: its severity, what happened, the probable cause, and with
--evidence the events that lead to it, by time. With -w it goes on, and prints each new revision.`,
		Example: `  millrace incidents observability --open
  millrace incidents observability --severity error --namespace-of shop --evidence -f pipeline.yaml
  millrace incidents observability -w -o json`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.Begin(cmd); err != nil {
				return err
			}
			var err error
			if o.Since, err = view.Ago(since, now()); err != nil {
				return usage.Error{Err: err}
			}
			source, err := target.Open(cmd)
			if err != nil {
				return err
			}
			defer source.Close()
			of, err := source.Find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			list := incidents{out: &out, evidence: evidence, seen: map[string]uint32{}}
			for {
				all, err := source.View.Incidents(cmd.Context(), of, o)
				if err == nil {
					err = list.print(all, watch)
				}
				if err != nil {
					return Wrong(err)
				}
				if !watch {
					if len(all) == 0 {
						out.Notice("no insights")
					}
					return nil
				}
				if pause.For(cmd.Context(), watchInterval) != nil { // Ctrl-C
					return nil
				}
			}
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Open, "open", false, "leave out those that are closed")
	f.BoolVarP(&watch, "watch", "w", false, "go on, and print each new revision")
	f.BoolVar(&evidence, "evidence", false, "print the chain of evidence")
	f.StringVar(&o.Severity, "severity", "", "at least: info, warning, error or fatal")
	f.StringVar(&o.Namespace, "namespace-of", "", "only those whose cause, or something affected, is in this namespace")
	f.StringVar(&o.Entity, "entity", "", "only those whose cause, or something affected, has this in kind/namespace/name")
	f.StringVar(&since, "since", "", "only what was stored since then: a duration such as 1h, or a time in RFC 3339")
	f.IntVar(&o.Limit, "limit", 0, "at most so many (default all)")
	out.Flags(cmd)
	target.Flags(cmd)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

// incidents prints insights.
type incidents struct {
	out      *Output
	evidence bool
	seen     map[string]uint32 // the revision that was printed
}

func (l *incidents) print(all []view.Incident, watch bool) error {
	if watch {
		all = slices.Clone(all)
		slices.Reverse(all) // the newest is the last line
	}
	for i := range all {
		in := &all[i]
		if seen, ok := l.seen[in.ID]; ok && seen == in.Revision {
			continue
		}
		l.seen[in.ID] = in.Revision
		if l.out.JSON() {
			if err := l.out.Value(in); err != nil {
				return err
			}
			continue
		}
		if err := l.one(in); err != nil {
			return err
		}
	}
	return nil
}

func (l *incidents) one(in *view.Incident) error {
	color := Yellow
	switch in.Severity {
	case "error", "fatal":
		color = Red
	case "info", "debug":
		color = Cyan
	}
	err := l.out.Line("%s  %s  %s  %s", When(in.Last), l.out.Paint(color, fmt.Sprintf("%-5s", strings.ToUpper(in.Severity))), in.Status, Safe(in.Title))
	if err != nil {
		return err
	}
	lines := []string{in.Summary}
	if in.Cause != "" {
		lines = append(lines, "cause: "+in.Cause+", confidence "+strconv.FormatFloat(in.Confidence, 'f', 2, 64)+" ("+in.ConfidenceMethod+")")
	}
	if len(in.Affected) > 0 {
		lines = append(lines, fmt.Sprintf("affected: %s", Cut(strings.Join(in.Affected, ", "), 300)))
	}
	lines = append(lines, fmt.Sprintf("%s of %s, revision %d, %d events, id %s", in.Rule+in.Algorithm, in.Stage, in.Revision, in.Count, in.ID))
	for _, line := range lines {
		if err := l.out.Line("    %s", Safe(Cut(line, 500))); err != nil {
			return err
		}
	}
	if !l.evidence {
		return nil
	}
	for _, e := range in.Evidence {
		if err := l.out.Line("      %s  %s  %s  %s  %s", When(e.Time), Safe(e.Type), Safe(e.Entity), Safe(Cut(e.Text, 200)), l.out.Paint(Faint, Safe(e.EventID))); err != nil {
			return err
		}
	}
	return nil
}
