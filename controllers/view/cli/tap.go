package cli

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/config/usage"
)

// TapCommand is `millrace tap`.
func TapCommand() *cobra.Command {
	var target Target
	var out Output
	var o view.TapOptions
	var since, until string
	var stay bool
	now := time.Now
	cmd := &cobra.Command{
		Use:   "tap PIPELINE[/STAGE[/PORT]]",
		Short: "Show the events of a port while they are stored",
		Long: `Tap shows the events that a port stores from now on, or since a time: of STAGE/PORT (the default port is out), or of the ingress
when no stage is named. A tap reads stored messages. It makes no consumer, and slows no worker down; when it cannot keep up, it leaves
messages out and says how many.

Events are on standard output, with -o json one structured CloudEvent with its place a line; everything else is on standard error.`,
		Example: `  millrace tap observability/enrich --filter "event.severity >= 17"
  millrace tap observability --since 5m --limit 20 -f pipeline.yaml -o json     # of the ingress
  millrace tap shop/check/dead-letter --since 1h --no-follow --nats-url nats://nats:4222`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.Begin(cmd); err != nil {
				return err
			}
			var errs [2]error
			o.Since, errs[0] = view.Ago(since, now())
			o.Until, errs[1] = view.Ago(until, now())
			if err := cmp.Or(errs[0], errs[1]); err != nil {
				return usage.Error{Err: err}
			}
			o.Follow = !stay
			source, err := target.Open(cmd)
			if err != nil {
				return err
			}
			defer source.Close()
			of, stage, port, err := source.Port(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			o.Stage, o.Port = stage, port
			if o.Since.IsZero() && o.Follow {
				out.Notice("waiting for events of %s; Ctrl-C ends it", args[0])
			}
			err = source.View.Tap(cmd.Context(), of, o, func(s *view.Stored) error { return tapped(&out, s) })
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return Wrong(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Filter, "filter", "", "CEL expression of type bool over event; events for which it is false are left out")
	f.StringVar(&since, "since", "", "begin with what was stored since then: a duration such as 5m, or a time in RFC 3339 (default now)")
	f.StringVar(&until, "until", "", "end with what was stored until then")
	f.IntVar(&o.Sample, "sample", 0, "show one of N events (default all)")
	f.IntVar(&o.Limit, "limit", 0, "end after so many events (default no limit)")
	f.BoolVar(&stay, "no-follow", false, "end at the newest event")
	out.Flags(cmd)
	target.Flags(cmd)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

// Wrong makes a question that has no answer a matter of usage.
func Wrong(err error) error {
	if errors.Is(err, view.ErrInvalid) {
		return usage.Error{Err: err}
	}
	return err
}

func tapped(out *Output, s *view.Stored) error {
	if s.Skipped > 0 {
		out.Notice("%d messages were left out: they come faster than they can be shown", s.Skipped)
	}
	if out.JSON() {
		return out.Value(s)
	}
	return out.Line("%s", out.event(s))
}

// EventLine is an event as a tap shows it, on one line that cannot control a terminal.
func EventLine(s *view.Stored) string { return new(Output).event(s) }

func (o *Output) event(s *view.Stored) string {
	kind, text := s.Type, s.Text
	if s.Event == nil {
		kind, text = "(no event)", strconv.QuoteToASCII(Cut(string(s.Raw), 200))
	}
	parts := []string{o.Paint(Faint, When(s.Place.Stored)), Safe(s.ID), o.Paint(Cyan, Safe(kind))}
	if s.Entity != "" {
		parts = append(parts, Safe(s.Entity))
	}
	if text != "" {
		parts = append(parts, Safe(Cut(text, 200)))
	}
	if s.Error != "" {
		parts = append(parts, o.Paint(Red, "["+Safe(Cut(s.Error, 300))+"]"))
	}
	return strings.Join(parts, "  ")
}
