package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

// consoleEditor is somebody with the role edit.
const consoleEditor = `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: operator-of-pipelines, namespace: default}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator-of-pipelines, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: operator-of-pipelines, namespace: default}]
`

// consoleLooksAndReplays asks everything that the pages ask, and replays a dead letter. The operator has the rights in NATS that are printed for it with
// --console edit, and no others: what is missing is in the log of the server.
func consoleLooksAndReplays(t *testing.T, c *cluster, port int) {
	c.apply(consoleEditor)
	token := strings.TrimSpace(c.run("kubectl", "create", "token", "operator-of-pipelines", "--audience", "millrace.dev/console"))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(client.CloseIdleConnections)
	ask := func(method, path, body string) (string, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("https://127.0.0.1:%d/api/v1/pipelines%s", port, path), strings.NewReader(body))
		if err != nil {
			return "", err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("X-Millrace-Console", "1")
		r.Header.Set("Content-Type", "application/json")
		response, err := client.Do(r)
		if err != nil {
			return "", err
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s %s: %d %s", method, path, response.StatusCode, answer)
		}
		return string(answer), err
	}
	c.publish("default.secured.raw.demo", []byte("\x00 this is no event {"))
	const of = "/default/secured/"
	for path, want := range map[string]string{
		"":           `"name":"secured"`,
		of + "graph": `"name":"enrich"`,
		of + "events?since=1h&limit=5&port=validate/out":         `"port":"validate/out"`,
		of + "tap?since=1h&limit=5&follow=false&port=enrich/out": "event: events",
		of + "incidents": `"incidents":[`,
		of + "letters":   `"reason":"undecodable"`,
		of + "jobs":      `"jobs":[`,
	} {
		harness.Eventually(t, 30*time.Second, func() error {
			got, err := ask(http.MethodGet, path, "")
			if err == nil && !strings.Contains(got, want) {
				err = fmt.Errorf("%s: got %.300s, want %s", path, got, want)
			}
			return err
		})
	}
	if _, err := ask(http.MethodPost, of+"jobs", `{"reason":"undecodable"}`); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, func() error {
		got, err := ask(http.MethodGet, of+"jobs", "")
		if err != nil {
			return err
		}
		var answer struct {
			Jobs []struct {
				State     string
				Published int
			}
		}
		if err := json.Unmarshal([]byte(got), &answer); err != nil {
			return err
		}
		if len(answer.Jobs) != 1 || answer.Jobs[0].State != "done" || answer.Jobs[0].Published < 1 {
			return fmt.Errorf("the replay has not ended: %s", got)
		}
		return nil
	})
	if _, err := ask(http.MethodGet, "/elsewhere/minimal/graph", ""); err == nil || !strings.Contains(err.Error(), " 403 ") {
		t.Errorf("a pipeline of another namespace: got %v, want 403", err)
	}
}
