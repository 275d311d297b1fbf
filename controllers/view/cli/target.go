package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// Target are the flags that say where pipelines are: in files, on a NATS server, or in a cluster.
type Target struct {
	files               []string
	nats                config.NATS
	kubeconfig, context string
	namespace           string
}

// defaultURL is the NATS server of files that name none.
const defaultURL = "nats://127.0.0.1:4222"

// Flags adds the flags of a target.
func (t *Target) Flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&t.files, "file", "f", nil, "file or folder with the Pipeline and its attached Stages, or - for standard input; may be repeated. Without it the Pipeline is that of --nats-url alone, else that of the cluster")
	f.StringVarP(&t.namespace, "namespace", "n", "", "namespace of the Pipeline (default that of the context, or of the only Pipeline of this name in the files or on the server)")
	f.StringVar(&t.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (default that of KUBECONFIG, or ~/.kube/config)")
	f.StringVar(&t.context, "context", "", "context of the kubeconfig")
	f.StringVar(&t.nats.URL, "nats-url", "", "NATS server, or several separated by commas (default the one that the Pipeline of the cluster names; with -f "+defaultURL+"). Without -f, --kubeconfig and --context, its streams say which Pipelines there are")
	connect.Flags(cmd, &t.nats)
}

// Opened is a source of pipelines.
type Opened struct {
	view.Source
	// View reads it.
	View *view.View

	namespace string
	close     func()
}

// Close ends its connections.
func (o *Opened) Close() { o.close() }

// Open makes the source of the flags.
func (t *Target) Open(cmd *cobra.Command) (*Opened, error) {
	if err := t.Check(); err != nil {
		return nil, usage.Error{Err: err}
	}
	o, err := t.source(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	if o.View, err = view.New(o.Source, time.Now); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// Check refuses flags that contradict each other.
func (t *Target) Check() error {
	if len(t.files) > 0 && (t.kubeconfig != "" || t.context != "") {
		return errors.New("-f and the cluster of --kubeconfig or --context: give one of them")
	}
	return connect.CheckFlags(t.nats)
}

func (t *Target) source(ctx context.Context, stdin io.Reader) (*Opened, error) {
	switch {
	case len(t.files) > 0:
		return t.fromFiles(ctx, stdin)
	case t.nats.URL != "" && t.kubeconfig == "" && t.context == "":
		s := view.NewRecorded(view.Server{URL: t.nats.URL, Domain: t.nats.JetStreamDomain, Files: t.nats})
		return &Opened{Source: s, namespace: t.namespace, close: s.Close}, nil
	}
	return t.fromCluster()
}

func (t *Target) fromFiles(ctx context.Context, stdin io.Reader) (*Opened, error) {
	plans, err := manifest.Plans(ctx, stdin, t.files, t.nats.JetStreamDomain)
	if err != nil {
		return nil, err
	}
	if len(plans) == 0 {
		return nil, errors.New("the files hold no Pipeline")
	}
	url := t.nats.URL
	if url == "" {
		url = plans[0].Stages[0].Config.NATS.URL
	}
	s := view.NewPlans(view.Server{URL: url, Domain: t.nats.JetStreamDomain, Files: t.nats}, plans...)
	return &Opened{Source: s, namespace: t.namespace, close: s.Close}, nil
}

func (t *Target) fromCluster() (*Opened, error) {
	objects, namespace, err := OpenCluster(t.kubeconfig, t.context, "name the manifest with -f, or set KUBECONFIG")
	if err != nil {
		return nil, err
	}
	if t.namespace != "" {
		namespace = t.namespace
	}
	pool := view.NewPool("millrace-view")
	s, err := view.NewCluster(objects, t.nats, func(_ context.Context, p *v1alpha1.Pipeline) (*jetstream.Client, error) {
		return Connect(pool, t.nats, p, "--nats-url")
	})
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &Opened{Source: s, namespace: namespace, close: pool.Close}, nil
}

// Find finds a pipeline by PIPELINE or NAMESPACE/PIPELINE; an empty name is the only one that there is.
func (o *Opened) Find(ctx context.Context, name string) (view.Name, error) {
	namespace := o.namespace
	if space, rest, ok := strings.Cut(name, "/"); ok {
		namespace, name = space, rest
	}
	if namespace != "" && name != "" {
		return view.Name{Namespace: namespace, Name: name}, nil
	}
	all, err := o.Pipelines(ctx)
	if err != nil {
		return view.Name{}, err
	}
	var match []view.Name
	for _, p := range all {
		if (name == "" || p.Name.Name == name) && (namespace == "" || p.Namespace == namespace) {
			match = append(match, p.Name)
		}
	}
	switch len(match) {
	case 1:
		return match[0], nil
	case 0:
		return view.Name{}, fmt.Errorf("pipeline %q: %w: there are %s", name, view.ErrNotFound, join(all))
	}
	return view.Name{}, fmt.Errorf("%d pipelines could be meant by %q: name one of %s", len(match), name, join(all))
}

func join(all []view.Pipeline) string {
	var names []string
	for _, p := range all {
		names = append(names, p.Name.String())
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Port takes PIPELINE/STAGE[/PORT] apart, of which the pipeline may be left out where there is one only. ingress is the port of no stage.
func (o *Opened) Port(ctx context.Context, arg string) (of view.Name, stage, port string, err error) {
	parts := strings.Split(arg, "/")
	if len(parts) > 3 || arg == "" {
		return of, "", "", usage.Error{Err: fmt.Errorf("%q: want PIPELINE/STAGE or PIPELINE/STAGE/PORT, and the namespace with -n", arg)}
	}
	if of, err = o.Find(ctx, parts[0]); err != nil {
		return of, "", "", err
	}
	if len(parts) > 1 {
		stage = parts[1]
	}
	if len(parts) > 2 {
		port = parts[2]
	}
	return of, stage, port, nil
}

// Files tells whether -f is given.
func (t *Target) Files() bool { return len(t.files) > 0 }

// Client connects to the server of --nats-url, whatever pipelines there are. Call done when it is not needed any more.
func (t *Target) Client() (c *jetstream.Client, done func(), err error) {
	server := jetstream.Server{URL: t.nats.URL, Domain: t.nats.JetStreamDomain, Files: t.nats}
	if server.URL == "" {
		server.URL, server.Files.URL = defaultURL, defaultURL
	}
	pool := view.NewPool("millrace-view")
	if c, err = pool.Client(server); err != nil {
		pool.Close()
		return nil, nil, err
	}
	return c, pool.Close, nil
}
