package manifest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/workers/config/usage"
)

// Command is `millrace lint`.
func Command() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "lint -f FILE...",
		Short: "Check manifests as the API server and the operator would, without a cluster",
		Long: `Lint checks Pipelines and Stages: unknown fields, types, bounds and rules as the API server
does, and what the operator would refuse in the whole pipeline. It prints every problem as
file:line: path: message, and exits with 1 when there is one. Objects of other APIs are passed over.`,
		Example:       "  millrace lint -f config/samples\n  kubectl get pipelines.millrace.dev -A -o yaml | millrace lint -f -",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage.Error{Err: fmt.Errorf("lint takes no argument %q: name files with -f", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return lint(cmd, files) },
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file or folder to check, or - for standard input; may be repeated")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

func lint(cmd *cobra.Command, files []string) error {
	if len(files) == 0 {
		return usage.Error{Err: errors.New("lint needs -f: name a file, a folder, or - for standard input")}
	}
	checker, err := NewChecker()
	if err != nil {
		return err
	}
	set, problems, err := checker.Open(cmd.Context(), cmd.InOrStdin(), files)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	if n := len(problems); n > 0 {
		return errors.New(count(n, "problem"))
	}
	for i, p := range set.Plans {
		for _, w := range p.Warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: pipeline %s: %s\n", set.Pipelines[i].Name, w)
		}
	}
	fmt.Fprintln(out, summary(set))
	return nil
}

// summary is what lint prints when all is well.
func summary(set *Set) string {
	stages := len(set.Stages)
	for _, p := range set.Pipelines {
		stages += len(p.Spec.Stages)
	}
	text := "ok: " + count(len(set.Pipelines), "pipeline") + ", " + count(stages, "stage")
	if len(set.Detached) > 0 {
		text += "; checked without a Pipeline, which is in none of the files: " + strings.Join(set.Detached, ", ")
	}
	if set.Others > 0 {
		text += "; not checked: " + count(set.Others, "object") + " of other APIs"
	}
	return text
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
