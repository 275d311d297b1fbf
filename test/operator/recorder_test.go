package operator_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

// recorder keeps the writing requests of the operator.
type recorder struct {
	mu       sync.Mutex
	requests []string
}

func (r *recorder) add(request string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request)
}

// wrap records the requests to the API server. Events are no state and do not count.
func (r *recorder) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.Method != http.MethodGet && !strings.Contains(request.URL.Path, "/apis/events.k8s.io/") {
			r.add(request.Method + " " + request.URL.Path)
		}
		return next.RoundTrip(request)
	})
}

// nats records a request to JetStream, of whoever sent it.
func (r *recorder) nats(subject string) {
	for _, verb := range []string{".CREATE.", ".UPDATE.", ".DELETE.", ".PURGE."} {
		if strings.Contains(subject, verb) {
			r.add(subject)
		}
	}
}

// of returns the requests that concern a namespace. Streams, consumers and leases carry its name.
func (r *recorder) of(namespace string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	stream := strings.ReplaceAll(strings.ToUpper(namespace), "-", "_")
	return slices.Collect(func(yield func(string) bool) {
		for _, request := range r.requests {
			if strings.Contains(request, "/"+namespace+"/") || strings.Contains(request, stream) ||
				strings.Contains(request, "KV_"+namespace) || strings.Contains(request, "KV_STATE_"+namespace) {
				if !yield(request) {
					return
				}
			}
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
