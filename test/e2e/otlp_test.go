//go:build e2e

package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlpReceiver keeps the spans that are sent to it over OTLP, http/protobuf.
type otlpReceiver struct {
	url string

	mu    sync.Mutex
	spans []received
}

// received is a span and the service that sent it.
type received struct {
	service string
	*otlptrace.Span
}

func startOTLP(t testing.TB) *otlpReceiver {
	t.Helper()
	r := &otlpReceiver{}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// ServeHTTP implements http.Handler.
func (r *otlpReceiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var export coltrace.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &export)
	}
	if err != nil || request.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(request.URL.Path, err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range export.ResourceSpans {
		service := ""
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				r.spans = append(r.spans, received{service, s})
			}
		}
	}
}

// way returns the services that a trace went through, as parents and children: "a>b" means that a span
// of b is the child of one of a. A span below the sender's is ">a".
func (r *otlpReceiver) way(traceID, sender string) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	services := map[string]string{sender: ""}
	for _, s := range r.spans {
		services[hex.EncodeToString(s.SpanId)] = s.service
	}
	found := map[string]bool{}
	for _, s := range r.spans {
		if hex.EncodeToString(s.TraceId) != traceID {
			continue
		}
		if parent, ok := services[hex.EncodeToString(s.ParentSpanId)]; ok {
			found[parent+">"+s.service] = true
		}
	}
	return found
}
