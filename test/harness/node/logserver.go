package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// logServer is the part of a kubelet's API behind `kubectl logs`. Anybody on
// this machine may read it.
type logServer struct {
	agent  *Agent
	server *http.Server
}

func newLogServer(a *Agent, listener net.Listener) *logServer {
	s := &logServer{agent: a}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.serve)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	certificate, err := selfSigned()
	if err != nil {
		panic(err) // no randomness
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	go s.server.Serve(tls.NewListener(listener, config)) //nolint:errcheck // ends with close
	return s
}

func (s *logServer) close() { _ = s.server.Close() }

func (s *logServer) serve(w http.ResponseWriter, r *http.Request) {
	namespace, pod, name := r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")
	path, ok := s.agent.logFile(namespace, pod, name)
	if !ok {
		http.Error(w, "container has not run", http.StatusNotFound)
		return
	}
	f, err := os.Open(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close() //nolint:errcheck // read only
	w.WriteHeader(http.StatusOK)
	content, _ := os.ReadFile(path)
	if n, err := strconv.Atoi(r.URL.Query().Get("tailLines")); err == nil {
		_, _ = w.Write(lastLines(content, n))
	} else {
		_, _ = w.Write(content)
	}
	if r.URL.Query().Get("follow") != "true" {
		return
	}
	_, _ = f.Seek(int64(len(content)), 0)
	s.follow(r.Context(), w, f, func() bool {
		_, err := s.agent.Pid(namespace, pod, name)
		return err == nil
	})
}

// follow copies what is appended until the client leaves or the container
// has ended.
func (s *logServer) follow(ctx context.Context, w http.ResponseWriter, f *os.File, running func() bool) {
	flush := http.NewResponseController(w)
	for {
		alive := running()
		if _, err := f.WriteTo(w); err != nil {
			return
		}
		_ = flush.Flush()
		if !alive || !sleep(ctx, 200*time.Millisecond) {
			return
		}
	}
}

func lastLines(content []byte, n int) []byte {
	at := len(content)
	if at > 0 && content[at-1] == '\n' {
		at--
	}
	for ; n > 0; n-- {
		if at = bytes.LastIndexByte(content[:at], '\n'); at < 0 {
			return content
		}
	}
	return content[at+1:]
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
