package sinks

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"millrace.dev/millrace/api/v1alpha1"
)

// receiver is a server that takes each request once, by its id, and refuses events.
type receiver struct {
	url string
	t   *testing.T

	mu     sync.Mutex
	known  map[string]bool
	ids    []string
	behave behaviour
}

// behaviour is what befalls requests.
type behaviour uint8

const (
	answers behaviour = iota
	isBusy            // takes nothing, and says so
	forgets           // takes the request, and the answer is another one
	hangsUp           // takes the request, and there is no answer
)

func newReceiver(t *testing.T) target {
	rc := &receiver{t: t, known: map[string]bool{}}
	server := httptest.NewServer(rc)
	t.Cleanup(server.Close)
	rc.url = server.URL
	return rc
}

// ServeHTTP implements http.Handler.
func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the worker is gone
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	switch {
	case rc.behave == isBusy:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case bytes.Contains(body, []byte(`"subject":"bad"`)):
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	if id := r.Header.Get("Webhook-Id"); !rc.known[id] {
		rc.known[id] = true
		for line := range bytes.Lines(body) {
			rc.ids = append(rc.ids, idOf(rc.t, line))
		}
	}
	switch rc.behave {
	case forgets:
		w.WriteHeader(http.StatusBadGateway)
	case hangsUp:
		panic(http.ErrAbortHandler)
	}
}

func (rc *receiver) spec(*testing.T, string) *v1alpha1.SinkSpec {
	return &v1alpha1.SinkSpec{HTTP: &v1alpha1.HTTPSinkSpec{URL: rc.url, Format: v1alpha1.HTTPFormatNDJSON}}
}

func (rc *receiver) fault(_ context.Context, lot *rand.Rand) error {
	rc.mu.Lock()
	rc.behave = isBusy + behaviour(lot.IntN(3))
	rc.mu.Unlock()
	time.Sleep(time.Duration(lot.IntN(300)) * time.Millisecond)
	rc.mu.Lock()
	rc.behave = answers
	rc.mu.Unlock()
	return nil
}

func (rc *receiver) stored(*testing.T) []string {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return slices.Clone(rc.ids)
}

func (*receiver) refuses(n int) bool { return n%refusedEvery == 0 }
