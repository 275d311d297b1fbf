package permissions

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// Command is `millrace nats-permissions`.
func Command() *cobra.Command {
	var files []string
	var format, auth, console string
	var collector plan.Collector
	var domain config.Domain
	cmd := &cobra.Command{
		Use:   "nats-permissions -f FILE...",
		Short: "Print the NATS users of a pipeline and the little that each may do",
		Long: `Print the NATS users of the Pipelines in some manifests: one for the workers of each stage, one for
the operator, one for the collector of a cluster, and two for people: millrace-viewer looks at pipelines, millrace-editor also replays
and purges dead letters. Each may do what it has to and no more. An operator that serves the console reads as a viewer does, and publishes
as an editor: see --console.

--format nats is a block for the configuration of a NATS server, with variables for passwords or
public nkeys, which the server takes from its environment; nsc are commands for accounts with JWTs.
docs/security.md says how workers get the credentials of their stage.`,
		Example:       "  millrace nats-permissions -f config/samples/observability.yaml > users.conf",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usage.Error{Err: errors.New("nats-permissions needs -f: name a file, a folder, or - for standard input")}
			}
			if auth != "password" && auth != "nkey" {
				return usage.Error{Err: fmt.Errorf("--auth is %q: use password or nkey", auth)}
			}
			write, ok := formats[format]
			if !ok {
				return usage.Error{Err: fmt.Errorf("--format is %q: use nats, nsc or json", format)}
			}
			if !slices.Contains(consoles, console) {
				return usage.Error{Err: fmt.Errorf("--console is %q: use view, edit or nothing", console)}
			}
			if err := domain.Check(); err != nil {
				return usage.Error{Err: fmt.Errorf("--nats-jetstream-domain: %w", err)}
			}
			plans, err := manifest.Plans(cmd.Context(), cmd.InOrStdin(), files, domain)
			if err != nil {
				return err
			}
			if len(plans) == 0 {
				return errors.New("the manifests hold no Pipeline")
			}
			return write(cmd.OutOrStdout(), users(plans, collector, console), auth)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "file", "f", nil, "file or folder with Pipelines and attached Stages, or - for standard input; may be repeated")
	f.StringVar(&format, "format", "nats", "nats, nsc or json")
	f.StringVar(&auth, "auth", "password", "password or nkey: how users authenticate, for --format nats")
	f.StringVar(&collector.Subject, "collector-subject", "", "subject of the collector (default kubernetes, below the ingress)")
	f.StringVar(&collector.Cluster, "cluster", "kubernetes", "name of the collector's cluster")
	f.StringVar(&collector.Bucket, "checkpoint-bucket", "", "bucket of the collector's checkpoints (default millrace-collect)")
	f.StringVar(&console, "console", "", "the operator serves the console: view, or edit when people may replay and purge dead letters there (default it serves none)")
	connect.DomainFlag(cmd, &domain, "JetStream `domain` of Pipelines that name neither spec.nats.url nor spec.nats.jetStreamDomain, as the operator has it")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

// consoles are the values of --console.
var consoles = []string{"", consoleView, consoleEdit}

const consoleView, consoleEdit = "view", "edit"

// users are those of all stages, the operator's, the collector's of the first pipeline, and those of people.
func users(plans []*plan.Plan, collector plan.Collector, console string) []plan.User {
	var all []plan.User
	operator := plan.OperatorPermissions(plans...)
	if console != "" {
		operator = plan.ConsolePermissions(console == consoleEdit, plans...)
	}
	for _, p := range plans {
		all = append(all, plan.Permissions(p)...)
	}
	return append(all, operator, plan.CollectorPermissions(plans[0], collector),
		plan.ViewerPermissions(plans...), plan.EditorPermissions(plans...))
}

// formats write users down.
var formats = map[string]func(out io.Writer, users []plan.User, auth string) error{
	"nats": writeNATS, "nsc": writeNSC, "json": writeJSON,
}
