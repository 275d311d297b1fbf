package call_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/workers/stage/call"
)

// TestClient: it follows no redirect, and uses a connection again whose answer was longer than anybody reads.
func TestClient(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	addresses := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addresses[r.RemoteAddr] = true
		w.Header().Set("Location", other.URL)
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, strings.Repeat("x", 32<<10))
	}))
	defer server.Close()
	client := call.NewClient(call.Options{Idle: 1, Timeout: time.Minute})
	defer client.CloseIdleConnections()
	for range 3 {
		answer, err := client.Get(server.URL) //nolint:bodyclose // call.Read closes it
		if err != nil {
			t.Fatal(err)
		}
		if text, err := call.Read(answer, 5); err != nil || string(text) != "xxxxx" || answer.StatusCode != http.StatusFound {
			t.Errorf("%d %q %v", answer.StatusCode, text, err)
		}
	}
	if n := elsewhere.Load(); n != 0 || len(addresses) != 1 {
		t.Errorf("%d requests went to another server, %d connections to this one", n, len(addresses))
	}
}

// TestErrorsHaveNoURL, which may hold a token.
func TestErrorsHaveNoURL(t *testing.T) {
	_, err := call.NewClient(call.Options{}).Get("http://127.0.0.1:1/?token=abc") //nolint:bodyclose // there is none
	if err == nil || strings.Contains(call.WithoutURL(err).Error(), "token") {
		t.Errorf("got %v", err)
	}
	if other := errors.New("x"); !errors.Is(call.WithoutURL(other), other) {
		t.Error("another error is changed")
	}
}

func TestSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if _, err := call.Secret(file); err == nil {
		t.Error("a file that is missing has a value")
	}
	if err := os.WriteFile(file, []byte(" a b\r\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := call.Secret(file); err != nil || got != "a b" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestText(t *testing.T) {
	if got, want := call.Printable("a\n\tb\x00c\xff"), "a b c?"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := call.Short(strings.Repeat("ü", 200)); got != strings.Repeat("ü", 128)+"..." {
		t.Errorf("%q", got)
	}
}
