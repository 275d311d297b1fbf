package kubernetes

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/logs"
	"millrace.dev/millrace/test/harness/natsserver"
)

const emptyKubeconfig = `
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
`

// A collector is ready when it is connected. Of a name that does not resolve it says so.
func TestReadyWhenConnected(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, []byte(emptyKubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	_, leaf := harness.RunEmbeddedLeaf(t, "far")
	for name, tc := range map[string]struct {
		url, domain string
		status      int
		log         string
	}{
		"no such name":          {"nats://nats.nowhere.invalid:4222", "", http.StatusServiceUnavailable, "the name nats.nowhere.invalid does not resolve: check --nats-url"},
		"connected":             {server.URL(), "", http.StatusOK, "waiting for a stream that stores the subject"},
		"JetStream in a domain": {leaf.URL(), "far", http.StatusOK, "waiting for a stream that stores the subject"},
		"domain not named":      {leaf.URL(), "", http.StatusOK, "name the domain with --nats-jetstream-domain"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := listener.Addr().String()
			_ = listener.Close()
			ctx, cancel := context.WithCancel(t.Context())
			var out logs.Buffer
			cmd := Command()
			cmd.SetArgs([]string{"--cluster", "x", "--nats-url", tc.url, "--nats-jetstream-domain", tc.domain, "--kubeconfig", kubeconfig, "--listen", address})
			cmd.SetErr(&out)
			ended := make(chan error, 1)
			go func() { ended <- cmd.ExecuteContext(ctx) }()
			harness.Eventually(t, 20*time.Second, func() error {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
				if err != nil {
					return err
				}
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					return err
				}
				_ = response.Body.Close()
				if response.StatusCode != tc.status {
					return fmt.Errorf("status: got %d, want %d", response.StatusCode, tc.status)
				}
				if !strings.Contains(out.String(), tc.log) {
					return fmt.Errorf("log: got %s, want %q", out.String(), tc.log)
				}
				return nil
			})
			if strings.Contains(out.String(), "outbound buffer") {
				t.Errorf("the log has the client's words: %s", out.String())
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("got %v, want none", err)
			}
		})
	}
}
