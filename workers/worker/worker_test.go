package worker_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/worker"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// passThrough emits everything.
type passThrough struct{}

func (passThrough) Kind() config.Kind                           { return config.KindValidate }
func (passThrough) Stateful(*config.StageConfig) bool           { return false }
func (passThrough) New(stage.Settings) (stage.Stage, error)     { return passThrough{}, nil }
func (passThrough) Start(context.Context) error                 { return nil }
func (passThrough) Process(context.Context, *stage.Batch) error { return nil }
func (passThrough) Shutdown(context.Context) error              { return nil }

func startServer(t *testing.T, port int, dir string) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func stageConfig(url string) *config.StageConfig {
	return &config.StageConfig{
		APIVersion: config.APIVersion, Pipeline: config.PipelineRef{Namespace: "default", Name: "test"},
		Stage: "validate", Kind: config.KindValidate, Validate: &config.Validate{}, Partitions: 2, Lanes: 1, NATS: config.NATS{URL: url},
		Inputs: []config.Input{{From: "ingress", Stream: "IN", Durable: "stage", Subject: "in.>"}},
		Outputs: map[string]config.Output{
			"out":         {Stream: "OUT", Subject: "out", Format: config.FormatFrame},
			"dead-letter": {Stream: "DEAD", Subject: "dead", Format: config.FormatRaw},
		},
	}
}

func write(t *testing.T, c *config.StageConfig) string {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "stage.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15s: %s", what)
		}
	}
}

// TestLifeOfAWorker starts a worker before there is a NATS server and ends it with work done.
func TestLifeOfAWorker(t *testing.T) {
	first := startServer(t, -1, t.TempDir())
	url, dir := first.ClientURL(), t.TempDir()
	var port int
	if _, err := fmt.Sscanf(url[strings.LastIndexByte(url, ':'):], ":%d", &port); err != nil {
		t.Fatal(err)
	}
	first.Shutdown()
	first.WaitForShutdown()

	var logs bytes.Buffer
	listening := make(chan string, 1)
	ctx, sigterm := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- worker.Run(ctx, worker.Options{
			ConfigFile: write(t, stageConfig(url)), ListenAddr: "[127.0.0.1]:0", Registry: stage.NewRegistry(passThrough{}),
			Log: slog.New(slog.NewTextHandler(&logs, nil)), Listening: func(a string) { listening <- a },
			Profiles: true,
		})
	}()
	base := "http://" + <-listening
	eventually(t, "not ready without NATS", func() bool {
		code, text := get(t, base+"/readyz")
		return code == 503 && strings.Contains(text, "not connected to NATS")
	})
	if code, text := get(t, base+"/healthz"); code != 200 {
		t.Errorf("healthz without NATS: %d %s: a restart would not help", code, text)
	}

	startServer(t, port, dir)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "not ready without a stream", func() bool {
		code, text := get(t, base+"/readyz")
		return code == 503 && strings.Contains(text, "stream IN does not exist")
	})
	for name, subjects := range map[string]string{"IN": "in.>", "OUT": "out.>", "DEAD": "dead"} {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subjects}}); err != nil {
			t.Fatal(err)
		}
	}
	cons, err := js.CreateConsumer(t.Context(), "IN", jetstream.ConsumerConfig{Durable: "stage", AckPolicy: jetstream.AckAllPolicy})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "in.x", []byte(`{"id":"1","source":"s","type":"t"}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", func() bool { code, _ := get(t, base+"/readyz"); return code == 200 })
	eventually(t, "acknowledged", func() bool {
		i, err := cons.Info(t.Context())
		return err == nil && i.AckFloor.Stream == 1
	})
	if _, text := get(t, base+"/metrics"); !strings.Contains(text, `millrace_stage_events_total{outcome="emitted",pipeline="default/test",stage="validate"} 1`) || !strings.Contains(text, "go_goroutines") {
		t.Errorf("metrics:\n%s", text)
	}
	if code, _ := get(t, base+"/debug/pprof/goroutine?debug=1"); code != 200 {
		t.Errorf("profiles: %d", code)
	}
	sigterm()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the worker did not end")
	}
	if !strings.Contains(logs.String(), "msg=drained") {
		t.Errorf("logs:\n%s", logs.String())
	}
}

func TestWrongConfigEndsTheWorker(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.StageConfig)
		want   string
	}{
		"no url":      {func(c *config.StageConfig) { c.NATS.URL = "" }, "nats.url is empty"},
		"kind":        {func(c *config.StageConfig) { c.Kind, c.Validate, c.Enrich = config.KindEnrich, nil, &config.Enrich{} }, `kind "enrich" has no factory`},
		"version":     {func(c *config.StageConfig) { c.APIVersion = "v0" }, `apiVersion is "v0"`},
		"credentials": {func(c *config.StageConfig) { c.NATS.CredentialsFile = "/nowhere/user.creds" }, "nats.credentialsFile"},
		"no port":     {func(c *config.StageConfig) { delete(c.Outputs, "dead-letter") }, `no port "dead-letter"`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := stageConfig("nats://127.0.0.1:1")
			c.change(cfg)
			err := worker.Run(t.Context(), worker.Options{
				ConfigFile: write(t, cfg), ListenAddr: "127.0.0.1:0", Registry: stage.NewRegistry(passThrough{}), Log: slog.New(slog.DiscardHandler),
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	cmd := worker.Command(func(string) stage.Registry { return stage.NewRegistry(passThrough{}) })
	cmd.SetArgs(nil)
	err := cmd.ExecuteContext(t.Context())
	coded, ok := err.(interface{ ExitCode() int })
	if !ok || coded.ExitCode() != 2 || !strings.Contains(err.Error(), "--config is missing") {
		t.Errorf("without --config: got %v, want exit code 2", err)
	}
}
