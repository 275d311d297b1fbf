package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"millrace.dev/millrace/controllers/operator"
)

// childProgram makes this binary the operator.
const childProgram = "operator"

// childCounts is what the operator's process has done so far.
type childCounts struct {
	Requests   map[string]int
	Reconciles int
}

// runChild is `millrace operator`, with its requests counted.
func runChild(ctx context.Context, args []string) error {
	options := operator.DefaultOptions()
	options.WorkerImage = "millrace/worker:bench"
	options.MetricsAddress, options.ProbeAddress = "0", "0"
	f := flag.NewFlagSet(childProgram, flag.ContinueOnError)
	kubeconfig := f.String("kubeconfig", "", "")
	listen := f.String("listen", "", "")
	concurrency := f.Int("concurrency", 0, "")
	f.StringVar(&options.NATS.URL, "nats-url", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *concurrency > 0 {
		options.Concurrency = *concurrency
	}
	logger := logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // as the command does
	c := &counter{requests: map[string]int{}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &counting{c, next} })
	mux := http.NewServeMux()
	mux.HandleFunc("/counts", c.serve)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	server := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: time.Second}
	go func() {
		if err := server.ListenAndServe(); err != nil {
			logger.Error(err, "serve counts")
		}
	}()
	return operator.Run(ctx, config, options, logger)
}

// counter counts requests to the API server by verb and resource.
type counter struct {
	mu       sync.Mutex
	requests map[string]int
}

type counting struct {
	*counter
	next http.RoundTripper
}

func (c *counting) RoundTrip(request *http.Request) (*http.Response, error) {
	verb := request.Method
	if request.URL.Query().Get("watch") == "true" || request.URL.Query().Get("watch") == "1" {
		verb = "WATCH"
	}
	c.mu.Lock()
	c.requests[verb+" "+resourceOf(request.URL.Path)]++
	c.mu.Unlock()
	return c.next.RoundTrip(request)
}

// resourceOf is the resource of a path, with its subresource: pipelines/status.
func resourceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return "discovery"
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	if len(parts) > 2 {
		return parts[0] + "/" + parts[2]
	}
	return parts[0]
}

func (c *counter) serve(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, err := json.Marshal(childCounts{Requests: c.requests, Reconciles: reconciles()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(data)
}

// reconciles is how many reconciles have ended.
func reconciles() int {
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		return 0
	}
	n := 0.0
	for _, f := range families {
		if f.GetName() == "controller_runtime_reconcile_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return int(n)
}

// counts asks the operator's process.
func (w *world) counts(ctx context.Context) (childCounts, error) {
	var c childCounts
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.listen+"/counts", http.NoBody)
	if err != nil {
		return c, err
	}
	response, err := w.http.Do(request)
	if err != nil {
		return c, err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if err := json.NewDecoder(response.Body).Decode(&c); err != nil {
		return c, fmt.Errorf("counts of the operator: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for what, n := range w.jetstream {
		c.Requests["JetStream "+what] = n
	}
	return c, nil
}
