package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/process"
)

// world is what the operator runs in.
type world struct {
	options
	dir    string
	plane  *kube.ControlPlane
	nats   *natsserver.Server
	js     natsjs.JetStream
	client client.Client
	http   *http.Client

	listen   string
	operator *process.Process
	stops    []func()

	mu        sync.Mutex
	jetstream map[string]int
}

const namespace = "bench"

func startWorld(ctx context.Context, o options) (*world, error) {
	w := &world{options: o, http: &http.Client{}, jetstream: map[string]int{}}
	for _, step := range []func(context.Context) error{w.startServers, w.startClients, w.startOperator} {
		if err := step(ctx); err != nil {
			w.stop()
			return nil, err
		}
	}
	return w, nil
}

func (w *world) stop() {
	for i := len(w.stops) - 1; i >= 0; i-- {
		w.stops[i]()
	}
}

func (w *world) startServers(ctx context.Context) (err error) {
	if w.dir, err = os.MkdirTemp("", "millrace-bench-operator-"); err != nil {
		return err
	}
	w.stops = append(w.stops, func() { _ = os.RemoveAll(w.dir) })
	flags := []string{fmt.Sprintf("--kube-api-qps=%d", w.controllersQPS), fmt.Sprintf("--kube-api-burst=%d", w.controllersQPS*3/2)}
	if w.plane, err = kube.Start(ctx, kube.Options{ControllerManagerFlags: flags}); err != nil {
		return err
	}
	w.stops = append(w.stops, w.plane.Stop)
	if err := w.plane.InstallCRDs(filepath.Join("config", "crd", "bases")); err != nil {
		return fmt.Errorf("%w: run it from the root of the repository", err)
	}
	if w.nats, err = natsserver.Start(ctx, natsserver.Options{}); err != nil {
		return err
	}
	w.stops = append(w.stops, w.nats.Stop)
	return nil
}

func (w *world) startClients(ctx context.Context) error {
	nc, err := w.nats.Connect()
	if err != nil {
		return err
	}
	w.stops = append(w.stops, nc.Close)
	if w.js, err = natsjs.New(nc); err != nil {
		return err
	}
	if _, err := nc.Subscribe("$JS.API.>", w.count); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if w.client, err = client.New(w.plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return w.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
}

// count counts requests to JetStream, of whoever sent them.
func (w *world) count(m *nats.Msg) {
	what := "read"
	for _, verb := range []string{"CREATE", "UPDATE", "DELETE", "PURGE"} {
		if strings.Contains(m.Subject, "."+verb+".") {
			what = strings.ToLower(verb)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jetstream[what]++
}

func (w *world) startOperator(ctx context.Context) error {
	port, err := process.FreePort()
	if err != nil {
		return err
	}
	w.listen = "127.0.0.1:" + strconv.Itoa(port)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	w.operator, err = process.Start(process.Command{
		Path: self, LogFile: filepath.Join(w.dir, "operator.log"), Name: "operator",
		Args: []string{
			childProgram, "-kubeconfig", w.plane.Kubeconfig(), "-nats-url", w.nats.URL(), "-listen", w.listen,
			"-concurrency", strconv.Itoa(w.concurrency),
		},
	})
	if err != nil {
		return err
	}
	w.stops = append(w.stops, w.operator.Kill)
	return until(ctx, time.Minute, 50*time.Millisecond, func() error {
		if !w.operator.Running() {
			return fatal{fmt.Errorf("the operator ended:\n%s", w.operator.Tail(2000))}
		}
		_, err := w.counts(ctx)
		return err
	})
}

// profiled writes a CPU profile of the operator while it does something; what takes longer than
// the profile goes on.
func (w *world) profiled(ctx context.Context, name string, length time.Duration) {
	if w.profile == "" {
		return
	}
	go func() {
		url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", w.listen, int(length.Seconds()))
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return
		}
		response, err := w.http.Do(request)
		if err != nil {
			return
		}
		defer response.Body.Close() //nolint:errcheck // only read
		data, err := io.ReadAll(response.Body)
		if err == nil && os.MkdirAll(w.profile, 0o755) == nil {
			_ = os.WriteFile(filepath.Join(w.profile, name+".pprof"), data, 0o644)
		}
	}()
}

// fatal is an error that waiting does not mend.
type fatal struct{ error }

// until calls check until it returns nil.
func until(ctx context.Context, timeout, pause time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := check()
		if err == nil || errors.As(err, &fatal{}) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", timeout, err)
		case <-time.After(pause):
		}
	}
}
