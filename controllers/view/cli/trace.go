package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/config/usage"
)

// TraceCommand is `millrace trace`.
func TraceCommand() *cobra.Command {
	var target Target
	var out Output
	var since, until, around string
	var whole bool
	now := time.Now
	patience := 30 * time.Second
	cmd := &cobra.Command{
		Use:   "trace PIPELINE EVENT_ID",
		Short: "Follow an event by its id through all stages",
		Long: `Trace says what each stage did with an event: where it is stored, how long it waited, what the stage decided and why, and what it added.

An id that holds a time (UUID of version 7, ULID) is looked for at that time, any other one in the newest messages first. --around says when the
event was stored: then it is found at once however much is stored.`,
		Example: `  millrace trace observability 0198c9f4-0a2c-7d5e-9a35-5f5fd6bd0c11
  millrace trace shop order-42 --around 2026-01-02T15:04:05Z -f pipeline.yaml --nats-url nats://nats:4222 -o json`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.Begin(cmd); err != nil {
				return err
			}
			o := view.TraceOptions{ID: args[1], Patience: view.Seconds(patience)}
			var errs [3]error
			var at time.Time
			o.Since, errs[0] = view.Ago(since, now())
			o.Until, errs[1] = view.Ago(until, now())
			at, errs[2] = view.Ago(around, now())
			if err := cmp.Or(errs[0], errs[1], errs[2]); err != nil {
				return usage.Error{Err: err}
			}
			if !at.IsZero() {
				o.Since, o.Until = at.Add(-time.Minute), at.Add(time.Minute)
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
			trace, err := source.View.Trace(cmd.Context(), of, o)
			if err != nil {
				return Wrong(err)
			}
			if out.JSON() {
				return out.Value(trace)
			}
			return traced(&out, trace, whole)
		},
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "the ingress stored it since then: a duration before now such as 2h, or a time in RFC 3339")
	f.StringVar(&until, "until", "", "the ingress stored it until then")
	f.StringVar(&around, "around", "", "the ingress stored it within a minute of then")
	f.DurationVar(&patience, "timeout", patience, "how long to look for the id")
	f.BoolVar(&whole, "events", false, "print the event as each stage stored it")
	out.Flags(cmd)
	target.Flags(cmd)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

// maxValue bounds what is printed of a value that a stage added, in characters.
const maxValue = 160

func traced(out *Output, t *view.Trace, whole bool) error {
	for i := range t.Steps {
		if err := step(out, &t.Steps[i], whole); err != nil {
			return err
		}
	}
	for _, i := range t.Incidents {
		if err := out.Line("insight that names it: %s  %s", Safe(i.Title), out.Paint(Faint, Safe(i.ID))); err != nil {
			return err
		}
	}
	if !t.From.IsZero() {
		out.Notice("other events with this id that were stored before %s were not looked for", When(t.From))
	}
	return nil
}

func step(out *Output, s *view.Step, whole bool) error {
	name := s.Stage
	if s.Port != "" {
		name += "/" + s.Port
	}
	line := fmt.Sprintf("%-28s %s", Safe(name), out.Paint(colorOf(s.Decision), fmt.Sprintf("%-13s", s.Decision)))
	if at := s.At; at != nil {
		line += fmt.Sprintf("  %s  %s:%d[%d]", When(at.Stored), Safe(at.Subject), at.Sequence, at.Index)
	}
	if s.Waited != nil {
		line += "  +" + time.Duration(*s.Waited).Round(100*time.Microsecond).String()
	}
	if s.Why != "" {
		line += "  " + Safe(Cut(s.Why, 400))
	}
	if err := out.Line("%s", line); err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(s.Added)) {
		sign, value := "+", Safe(Cut(string(s.Added[path]), maxValue))
		if value == "null" {
			sign, value = "-", ""
		}
		if err := out.Line("    %s %s %s", out.Paint(Green, sign), Safe(path), value); err != nil {
			return err
		}
	}
	if whole && s.Event != nil {
		return out.Line("    %s", Safe(string(s.Event)))
	}
	return nil
}

func colorOf(decision string) Color {
	switch decision {
	case view.DecisionDead:
		return Red
	case view.DecisionWaiting, view.DecisionExpired, view.DecisionDuplicate:
		return Yellow
	case view.DecisionFiltered:
		return Faint
	}
	return Green
}
