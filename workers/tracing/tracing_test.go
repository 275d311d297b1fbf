package tracing_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"millrace.dev/millrace/workers/tracing"
)

func start(t *testing.T, env map[string]string) (*tracing.Provider, error) {
	t.Helper()
	for k, v := range env { // the exporter reads the process's own
		t.Setenv(k, v)
	}
	return tracing.Start(t.Context(), tracing.Options{
		Pipeline: "default/test", Stage: "validate", Worker: "w-1", Log: slog.New(slog.DiscardHandler),
		Getenv: func(name string) string { return env[name] },
	})
}

func TestEnvironment(t *testing.T) {
	const endpoint = "http://127.0.0.1:1"
	for name, c := range map[string]struct {
		env  map[string]string
		on   bool
		want string // error
	}{
		"nothing":          {nil, false, ""},
		"endpoint":         {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, true, ""},
		"of traces":        {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint + "/v1/traces"}, true, ""},
		"grpc":             {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, true, ""},
		"otlp by default":  {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		"none":             {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		"disabled":         {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SDK_DISABLED": "TRUE"}, false, ""},
		"other exporter":   {map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, `OTEL_TRACES_EXPORTER is "zipkin": use otlp or none`},
		"other protocol":   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, false, `"http/json": use http/protobuf or grpc`},
		"broken resources": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_RESOURCE_ATTRIBUTES": "novalue"}, false, "OTEL_RESOURCE_ATTRIBUTES"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := start(t, c.env)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got error %v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if on := p.Tracer() != nil; on != c.on {
				t.Errorf("on: %v, want %v", on, c.on)
			}
			if err := p.Close(t.Context()); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// TestCloseSendsTheLastSpans, with what the worker and the environment say of it.
func TestCloseSendsTheLastSpans(t *testing.T) {
	received := make(chan *coltrace.ExportTraceServiceRequest, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request coltrace.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		received <- &request
	}))
	defer server.Close()
	p, err := start(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.namespace=mine",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, span := p.Tracer().Start(t.Context(), "one")
	span.End()
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, a := range (<-received).ResourceSpans[0].Resource.Attributes {
		got[a.Key] = a.Value.GetStringValue()
	}
	for key, want := range map[string]string{
		"service.name": "validate", "service.namespace": "mine", "service.instance.id": "w-1", "deployment.environment.name": "test",
	} {
		if got[key] != want {
			t.Errorf("%s: got %q, want %q", key, got[key], want)
		}
	}
}
