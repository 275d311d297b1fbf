package draw

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/config/usage"
)

// formats draw a graph.
var formats = map[string]func(io.Writer, *view.Graph) error{"ascii": Text, "dot": Dot, "mermaid": Mermaid, "svg": SVG}

// Command is `millrace graph`.
func Command() *cobra.Command {
	var files []string
	var format string
	cmd := &cobra.Command{
		Use:   "graph -f FILE...",
		Short: "Draw the graph of a pipeline",
		Long: `Draw the graph of the pipeline in some manifests: stages, and the streams between them. It needs neither
a cluster nor NATS.

--format ascii is text for a terminal of 100 columns, dot is for Graphviz, mermaid for Markdown, and svg
is a picture that any browser shows.`,
		Example: `  millrace graph -f config/samples/observability.yaml
  millrace graph -f config/samples/everything.yaml --format svg > everything.svg
  millrace graph -f config/samples/join.yaml --format dot | dot -Tpng > join.png`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usage.Error{Err: errors.New("graph needs -f: name a file, a folder, or - for standard input")}
			}
			write, ok := formats[format]
			if !ok {
				return usage.Error{Err: fmt.Errorf("--format is %q: use ascii, dot, mermaid or svg", format)}
			}
			plans, err := manifest.Plans(cmd.Context(), cmd.InOrStdin(), files, "")
			if err != nil {
				return err
			}
			switch {
			case len(plans) == 0:
				return errors.New("the manifests hold no Pipeline")
			case len(plans) > 1 && format != "ascii":
				return usage.Error{Err: fmt.Errorf("the manifests hold %d Pipelines, and --format %s draws one: name a file that holds one", len(plans), format)}
			}
			for i, p := range plans {
				if i > 0 {
					if _, err := fmt.Fprintln(cmd.OutOrStdout()); err != nil {
						return err
					}
				}
				if err := write(cmd.OutOrStdout(), view.GraphOf(view.LayoutOf(p))); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "file", "f", nil, "file or folder with a Pipeline and attached Stages, or - for standard input; may be repeated")
	f.StringVar(&format, "format", "ascii", "ascii, dot, mermaid or svg")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"ascii", "dot", "mermaid", "svg"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}
