package top

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/cli"
	"millrace.dev/millrace/workers/config/usage"
)

// errEnough ends the readings without an error.
var errEnough = errors.New("enough")

// Command is `millrace top`.
func Command() *cobra.Command {
	var target cli.Target
	var out cli.Output
	var once bool
	cmd := &cobra.Command{
		Use:   "top [PIPELINE]",
		Short: "Watch what flows through a pipeline",
		Long: `Top shows the stages of a pipeline as a table, every two seconds: events a second, lag and how long the oldest event waits, latency,
workers, dead letters, and a sentence about what is wrong. Workers do nothing for it.

On a terminal it fills the screen: arrows or j and k choose a stage, Enter shows its ports, t the events of
a port as they are stored, s sorts by another column, r turns the order around, p pauses, q ends. Elsewhere it prints a table for each reading, and with -o json one object a line.`,
		Example: `  millrace top observability
  millrace top observability --once -o json
  millrace top -f pipeline.yaml --nats-url nats://127.0.0.1:4222`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.Begin(cmd); err != nil {
				return err
			}
			source, err := target.Open(cmd)
			if err != nil {
				return err
			}
			defer source.Close()
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			of, err := source.Find(cmd.Context(), name)
			if err != nil {
				return err
			}
			if !once && !out.JSON() {
				if t, ok := openTerminal(cmd.InOrStdin(), cmd.OutOrStdout()); ok {
					return t.run(cmd.Context(), source.View, of)
				}
			}
			return plain(cmd.Context(), source.View, of, &out, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print one reading and end: the second one, since rates are differences")
	out.Flags(cmd)
	target.Flags(cmd)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

// reader is what top asks.
type reader interface {
	Graph(ctx context.Context, of view.Name) (*view.Graph, error)
	Flow(ctx context.Context, of view.Name, f func(*view.Flow) error) error
	Tap(ctx context.Context, of view.Name, o view.TapOptions, f func(*view.Stored) error) error
}

// watch calls f with readings and the graph that they are of.
func watch(ctx context.Context, from reader, of view.Name, f func(*view.Graph, *view.Flow) error) error {
	g, err := from.Graph(ctx, of)
	if err != nil {
		return err
	}
	err = from.Flow(ctx, of, func(flow *view.Flow) error {
		if flow.Graph != "" && flow.Graph != g.Revision {
			if g, err = from.Graph(ctx, of); err != nil {
				return err
			}
			if flow.Graph != g.Revision { // it was edited between the two: the next reading fits
				return nil
			}
		}
		return f(g, flow)
	})
	if errors.Is(err, errEnough) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
