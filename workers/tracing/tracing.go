package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// scope names the instrumentation in spans.
const scope = "millrace.dev/millrace/workers/engine"

// closeTimeout bounds how long the last spans are waited for.
const closeTimeout = 5 * time.Second

// Options are what a worker says of itself, and the environment.
type Options struct {
	// Pipeline is namespace/name, Stage the name in it, Worker the process among those of the stage.
	Pipeline, Stage, Worker string
	// Getenv reads the environment: os.Getenv. The exporter and the SDK read that of the process.
	Getenv func(string) string
	Log    *slog.Logger
}

// Provider makes tracers and sends what they make. A nil Provider is off.
type Provider struct{ sdk *sdktrace.TracerProvider }

// Start returns the provider that the environment asks for: nil when it asks for none. A collector
// that cannot be reached is no error, now or later: spans are dropped, and the log says so. The
// error names the variable that cannot be obeyed.
func Start(ctx context.Context, o Options) (*Provider, error) {
	on, err := wanted(o.Getenv)
	if !on || err != nil {
		return nil, err
	}
	// Failed exports have no caller: OpenTelemetry gives them to one handler of the process.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Log.Warn("traces are not sent", "error", err) }))
	exporter, err := exporter(ctx, o.Getenv)
	if err != nil {
		return nil, fmt.Errorf("send traces over OTLP: %w", err)
	}
	self, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", o.Stage), attribute.String("service.namespace", o.Pipeline),
			attribute.String("service.instance.id", o.Worker)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return &Provider{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(self))}, nil
}

// wanted says whether the environment turns traces on.
func wanted(getenv func(string) string) (bool, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch e := getenv("OTEL_TRACES_EXPORTER"); e {
	case "none":
		return false, nil
	case "otlp":
		return true, nil
	case "":
		return first(getenv, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") != "", nil
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: use otlp or none", e)
	}
}

func exporter(ctx context.Context, getenv func(string) string) (*otlptrace.Exporter, error) {
	switch p := first(getenv, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); p {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q: use http/protobuf or grpc", p)
	}
}

// first is the value of the first variable that has one.
func first(getenv func(string) string, names ...string) string {
	for _, name := range names {
		if v := strings.TrimSpace(getenv(name)); v != "" {
			return v
		}
	}
	return ""
}

// Tracer returns nil when the provider is off.
func (p *Provider) Tracer() trace.Tracer {
	if p == nil {
		return nil
	}
	return p.sdk.Tracer(scope)
}

// Close sends what is left, for a few seconds at most.
func (p *Provider) Close(ctx context.Context) error {
	if p == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := p.sdk.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}
