package local

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"millrace.dev/millrace/controllers/console"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
	"millrace.dev/millrace/workers/stage"
)

// Kubernetes says where the Kubernetes enricher looks things up. Both empty: nowhere.
type Kubernetes struct {
	// Snapshot is a file as `kubectl get ... -o json` writes it.
	Snapshot string
	// Kubeconfig is the path of a kubeconfig; its current context is watched.
	Kubeconfig string
}

// NewRegistry makes the factories of a run. main passes it in: this package does not know
// the kinds of stage.
type NewRegistry func(Kubernetes) stage.Registry

// Options are what the command line says.
type Options struct {
	File         string
	Input        string // path, "-" or empty
	Rate         float64
	For          time.Duration
	UntilDrained bool
	Outputs      []OutputFile
	Report       string
	StoreDir     string
	Listen       string
	// Console is the loopback address of the web page; empty = there is none. Version is what it shows.
	Console string
	Version string
	// SecretFiles is the folder of the values of Secrets that stages name: DIR/<name of the Secret>/<key>.
	SecretFiles string
	// modelFiles is the folder of the models that stages name, as of secrets; it is that of the manifest.
	modelFiles string
	Kubernetes Kubernetes
	// Past is another input: what a stream has stored before.
	Past PastOptions

	open bool // the caller publishes on the ingress
}

// others says whether others than the feeder of the run publish on the ingress: what their messages hold they need not say.
func (o *Options) others() bool { return o.Listen != "" || o.open }

// OutputFile is one --output STAGE[/PORT]=FILE.
type OutputFile struct{ Stage, Port, File string }

// Command is `millrace run`.
func Command(newRegistry NewRegistry) *cobra.Command {
	var o Options
	var outputs []string
	var verbose bool
	var since, until string
	cmd := &cobra.Command{
		Use:   "run -f FILE [--input FILE|-] [--until-drained | --for DURATION]",
		Short: "Run a whole pipeline in this process, on an embedded NATS server",
		Long: `Run a whole pipeline in this process, on an embedded NATS server with JetStream on disk.
The manifest is the one that kubectl apply takes; no cluster is needed.

Input is JSON, native or CloudEvents: one event a line, objects spread over many lines, or an array
of events. What is no event is dead-lettered, not fatal. If an array breaks off, or the input is UTF-16 or
compressed, the run processes what it has read, says so and fails. Ctrl-C stops the input and drains the stages; a second
one ends at once, and what was not processed stays in --store-dir.

With --from-stream the input is what the ingress of a pipeline in a cluster has stored, so a changed manifest can be tried on the events
of the last hour beside the pipeline that runs. Time is that of the events: what was stored a minute apart there is a minute
apart here, and takes as long as the stages take. Nothing is changed on that server, and sinks do not run (--write-sinks).`,
		Example: `  millrace run -f pipeline.yaml --input events.ndjson --until-drained --report report.json
  kubectl get events -A -o json -w | ... | millrace run -f pipeline.yaml --input -
  millrace run -f pipeline.yaml --listen 127.0.0.1:4222    # then: nats pub events.raw.demo '{...}'
  millrace run -f changed.yaml --from-stream nats://nats.example.com:4222 --since 1h
  millrace run -f pipeline.yaml --input events.ndjson --console 127.0.0.1:8642    # then: open http://127.0.0.1:8642`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Outputs, err = parseOutputs(outputs); err != nil {
				return usage.Error{Err: err}
			}
			if err := o.Past.between(since, until, time.Now()); err != nil {
				return usage.Error{Err: err}
			}
			if err := o.check(); err != nil {
				return usage.Error{Err: err}
			}
			o.Version = cmd.Root().Version
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			return Run(cmd.Context(), o, Environment{
				Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Progress: cmd.ErrOrStderr(),
				Terminal: isTerminal(cmd.ErrOrStderr()), Log: log, Registry: newRegistry(o.Kubernetes),
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.File, "filename", "f", "", "manifest: one Pipeline, and Stages that refer to it (required)")
	f.StringVar(&o.Input, "input", "", "file of events, one a line, spread over lines or in an array; - reads standard input")
	f.Float64Var(&o.Rate, "rate", 0, "input events per second; 0 = as fast as the pipeline takes them")
	f.DurationVar(&o.For, "for", 0, "stop the input after this long, drain and end")
	f.BoolVar(&o.UntilDrained, "until-drained", false, "end when the input is read and every stage has processed it")
	f.StringArrayVar(&outputs, "output", nil, "STAGE[/PORT]=FILE: write what the port carries as CloudEvents, one a line; may be given again")
	f.StringVar(&o.Report, "report", "", "file for the closing report (JSON)")
	f.StringVar(&o.StoreDir, "store-dir", "", "directory of the streams, kept for the next run; default: a temporary one")
	f.StringVar(&o.Listen, "listen", "", "HOST:PORT where the embedded NATS server listens, so that other programs can publish; port 0 takes a free one and says which")
	f.StringVar(&o.Console, "console", "", "loopback HOST:PORT of a web page that shows the run live; port 0 takes a free one and says which")
	f.StringVar(&o.SecretFiles, "secret-files", "", "folder with the values of the Secrets that stages name: DIR/NAME/KEY")
	f.StringVar(&o.Kubernetes.Snapshot, "kubernetes-snapshot", "", "file that answers Kubernetes look-ups: kubectl get pods,nodes,replicasets,deployments,services,namespaces -A -o json")
	f.StringVar(&o.Kubernetes.Kubeconfig, "kubeconfig", "", "kubeconfig of a cluster that answers Kubernetes look-ups")
	f.StringVar(&o.Past.NATS.URL, "from-stream", "", "`URL` of a NATS server: the input is what the ingress of the pipeline has stored there")
	f.StringVar(&o.Past.Stream, "stream", "", "name of the stream that --from-stream reads, where the manifest has another one")
	f.StringVar(&since, "since", "1h", "where --from-stream begins: a duration before now, or a time (RFC 3339)")
	f.StringVar(&until, "until", "0s", "where --from-stream ends: a duration before now, or a time (RFC 3339)")
	f.BoolVar(&o.Past.Sinks, "write-sinks", false, "with --from-stream: sinks run, and write to their targets")
	connect.FlagsFor(cmd, &o.Past.NATS, "from-stream")
	f.BoolVarP(&verbose, "verbose", "v", false, "log what the stages do")
	return cmd
}

func (o *Options) check() error {
	if err := connect.CheckFlagsFor(o.Past.NATS, "from-stream"); err != nil {
		return err
	}
	switch past := o.Past.NATS.URL != ""; {
	case past && (o.Input != "" || o.Rate > 0 || o.For > 0 || o.UntilDrained || o.Listen != "" || o.StoreDir != "" || o.Console != ""):
		return errors.New("--from-stream is an input of its own, and ends by itself: --input, --rate, --for, --until-drained, --listen, --store-dir and --console do not go with it")
	case !past && (o.Past.Stream != "" || o.Past.Sinks):
		return errors.New("--stream and --write-sinks go with --from-stream, which is missing")
	case o.File == "":
		return errors.New("-f FILE is required: the manifest of the pipeline")
	case o.UntilDrained && o.For > 0:
		return errors.New("--until-drained and --for exclude each other")
	case o.UntilDrained && o.Input == "":
		return errors.New("--until-drained needs --input FILE or --input -")
	case o.Rate < 0:
		return fmt.Errorf("--rate %v: must not be negative", o.Rate)
	case o.For < 0:
		return fmt.Errorf("--for %v: must not be negative", o.For)
	case o.Console != "" && console.CheckLoopback(o.Console) != nil:
		return fmt.Errorf("--console %w", console.CheckLoopback(o.Console))
	case o.Kubernetes.Snapshot != "" && o.Kubernetes.Kubeconfig != "":
		return errors.New("--kubernetes-snapshot and --kubeconfig exclude each other")
	}
	return nil
}

// between sets the time that --from-stream is about.
func (p *PastOptions) between(since, until string, now time.Time) (err error) {
	if p.Since, err = view.Ago(since, now); err != nil {
		return fmt.Errorf("--since is %w", err)
	}
	if p.Until, err = view.Ago(until, now); err != nil {
		return fmt.Errorf("--until is %w", err)
	}
	if !p.Since.Before(p.Until) {
		return fmt.Errorf("--since %s is not before --until %s", since, until)
	}
	return nil
}

func parseOutputs(args []string) ([]OutputFile, error) {
	var out []OutputFile
	for _, a := range args {
		port, file, ok := strings.Cut(a, "=")
		if !ok || port == "" || file == "" {
			return nil, fmt.Errorf("--output %q: want STAGE[/PORT]=FILE", a)
		}
		name, p, _ := strings.Cut(config.PortName(port), "/")
		out = append(out, OutputFile{Stage: name, Port: p, File: file})
	}
	return out, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
