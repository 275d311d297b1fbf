package harness_test

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the image of the pods under test: with the first
// argument testapp it behaves as a small service.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "testapp" {
		os.Exit(testApp(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// testApp serves files and its environment on $(POD_IP):8080 until SIGTERM.
//
//	--file=P   what GET /file returns
//	--crash    exit with code 3 at once
//	--once     print done and exit with code 0
//	--stubborn ignore SIGTERM
//
// POST /unready and /wedge make the readiness and liveness endpoints fail.
func testApp(args []string) int {
	var file string
	stubborn := false
	for _, arg := range args {
		switch {
		case arg == "--crash":
			fmt.Println("crashing as told")
			return 3
		case arg == "--once":
			fmt.Println("done")
			return 0
		case arg == "--stubborn":
			stubborn = true
		case strings.HasPrefix(arg, "--file="):
			file = strings.TrimPrefix(arg, "--file=")
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)

	var unready, wedged atomic.Bool
	mux := http.NewServeMux()
	health := func(bad *atomic.Bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if bad.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	}
	mux.HandleFunc("GET /readyz", health(&unready))
	mux.HandleFunc("GET /livez", health(&wedged))
	mux.HandleFunc("POST /unready", func(http.ResponseWriter, *http.Request) { unready.Store(true) })
	mux.HandleFunc("POST /wedge", func(http.ResponseWriter, *http.Request) { wedged.Store(true) })
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	mux.HandleFunc("GET /args", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, args) })
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, strings.Join(os.Environ(), "\n"))
	})
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		content, err := os.ReadFile(os.Getenv("KUBECONFIG"))
		fmt.Fprintln(w, string(content), err, filepath.Base(r.URL.Path))
	})
	go func() {
		if err := http.ListenAndServe(os.Getenv("POD_IP")+":8080", mux); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}()
	fmt.Println("serving on", os.Getenv("POD_IP"))
	<-signals
	fmt.Println("got SIGTERM")
	if stubborn {
		time.Sleep(time.Minute)
	}
	return 0
}
