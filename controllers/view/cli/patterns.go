package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/config/usage"
)

// PatternsCommand is `millrace patterns`.
func PatternsCommand() *cobra.Command {
	var target Target
	var out Output
	var examples bool
	cmd := &cobra.Command{
		Use:   "patterns PIPELINE",
		Short: "List what correlate has learnt of which event follows which other",
		Long: `Patterns lists what the correlate stages of a pipeline have learnt and still hold for true, those with the most evidence first: what follows
what, within what time, how often, and how often it would by chance. With --examples it names events that showed it.`,
		Example: `  millrace patterns learning
  millrace patterns learning --examples -f config/samples/patterns.yaml
  millrace patterns learning -o json`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.Begin(cmd); err != nil {
				return err
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
			all, err := source.View.Patterns(cmd.Context(), of)
			if err != nil {
				return Wrong(err)
			}
			if len(all) == 0 {
				out.Notice("no patterns")
			}
			for i := range all {
				if err := printPattern(&out, &all[i], examples); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&examples, "examples", false, "print events that showed it")
	out.Flags(cmd)
	target.Flags(cmd)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

func printPattern(out *Output, p *view.Pattern, examples bool) error {
	if out.JSON() {
		return out.Value(p)
	}
	usually := time.Duration(p.Usually * float64(time.Second)).Round(time.Millisecond)
	if err := out.Line("%s -> %s", Safe(strings.Join(p.First, " -> ")), Safe(p.Then)); err != nil {
		return err
	}
	lines := []string{
		fmt.Sprintf("same %s, usually within %s: %.0f of %.0f times, %d %% (at least %d %%), %.1f by chance", p.Relation, usually, p.Followed, p.Begun,
			int(100*p.Confidence), int(100*p.Low), p.Chance),
		fmt.Sprintf("of %s, known since %s, evidence %.0f nats, id %s", p.Stage, When(p.Since), p.Evidence, p.ID),
	}
	if examples {
		for _, x := range p.Examples {
			lines = append(lines, "  "+x)
		}
	}
	for _, line := range lines {
		if err := out.Line("    %s", Safe(Cut(line, 500))); err != nil {
			return err
		}
	}
	return nil
}
