package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

// broken are Pipelines whose secrets are of no use: what is said of them must not say what they are.
const broken = `
{apiVersion: v1, kind: Secret, metadata: {name: no-creds, annotations: {millrace.dev/nats-url: "SERVER"}}, stringData: {user.creds: mArKeD-sEcReT-creds}}
---
{apiVersion: v1, kind: Secret, metadata: {name: no-seed, annotations: {millrace.dev/nats-url: "SERVER"}}, stringData: {user.nk: mArKeD-sEcReT-seed}}
---
{apiVersion: v1, kind: Secret, metadata: {name: no-user, annotations: {millrace.dev/nats-url: "SERVER"}}, stringData: {username: nobody, password: mArKeD-sEcReT-password}}
---
{apiVersion: v1, kind: Secret, metadata: {name: no-key, annotations: {millrace.dev/nats-url: "SERVER"}}, type: kubernetes.io/tls, stringData: {tls.crt: mArKeD-sEcReT-cert, tls.key: mArKeD-sEcReT-key}}
---
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: no-creds}
spec:
  nats: {credentialsSecretRef: {name: no-creds}}
  stages: [{name: a, from: [ingress], validate: {}}]
---
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: no-seed}
spec:
  nats: {credentialsType: NKey, credentialsSecretRef: {name: no-seed}}
  stages: [{name: a, from: [ingress], validate: {}}]
---
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: no-user}
spec:
  nats: {credentialsType: Password, credentialsSecretRef: {name: no-user}, tls: {ca: {kind: ConfigMap, name: nats-ca}}}
  stages: [{name: a, from: [ingress], validate: {}}]
---
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: no-key}
spec:
  nats: {url: "tls://127.0.0.1:1", tls: {clientSecretName: no-key}}
  stages: [{name: a, from: [ingress], validate: {}}]
`

func leaks(t *testing.T, c *cluster) {
	c.apply(strings.ReplaceAll(broken, "SERVER", c.nats[0].URL()+",tls://127.0.0.1:1"))
	for name, reason := range map[string]string{
		"no-creds": "CredentialsNotFound", "no-seed": "CredentialsNotFound", "no-user": "NATSUnreachable", "no-key": "CredentialsNotFound",
	} {
		harness.Eventually(t, 60*time.Second, func() error {
			out := c.run("kubectl", "get", "pipelines.millrace.dev", name, "-o", `jsonpath={.status.conditions[?(@.type=="StreamsReady")].reason}`)
			if out != reason {
				return fmt.Errorf("%s: got reason %q, want %s", name, out, reason)
			}
			return nil
		})
	}
	// The search finds what is there: the Secrets have it, in base64.
	if !hasMark(c.run("kubectl", "get", "secrets", "--all-namespaces", "-o", "yaml")) {
		t.Error("the secrets are not found where they are")
	}
	places := map[string]string{"NATS": string(must(os.ReadFile(c.nats[0].LogFile())))}
	for _, kind := range []string{
		"configmaps", "events", "events.events.k8s.io", "pipelines.millrace.dev", "stages.millrace.dev", "deployments", "replicasets", "pods",
	} {
		places[kind] = c.run("kubectl", "get", kind, "--all-namespaces", "-o", "yaml")
	}
	for _, namespace := range []string{"millrace-system", "default"} {
		for _, name := range strings.Fields(c.run("kubectl", "-n", namespace, "get", "pods", "-o", "name")) {
			out, err := c.try("kubectl", "-n", namespace, "logs", name, "--all-containers")
			if err != nil && !strings.Contains(out, "waiting to start") && !strings.Contains(name, "payments") {
				t.Fatalf("logs of %s: %v: %s", name, err, out)
			}
			places["logs of "+name] = out
		}
	}
	for _, command := range []string{"all", "notes", "values"} {
		places["helm "+command] = c.run("helm", "get", command, "millrace", "--namespace", "millrace-system")
	}
	for place, text := range places {
		if len(text) < 3 && !strings.HasPrefix(place, "logs of ") {
			t.Errorf("%s: nothing to look through", place)
		}
		if hasMark(text) {
			t.Errorf("%s: a secret has leaked:\n%s", place, around(text))
		}
	}
	t.Logf("looked through %d places", len(places))
}

// hasMark looks for the marker, as it is and in each of its three forms in base64.
func hasMark(text string) bool {
	if strings.Contains(text, marker) {
		return true
	}
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", shift) + marker))
		if strings.Contains(text, encoded[[]int{0, 2, 3}[shift]:len(encoded)-4]) {
			return true
		}
	}
	return false
}

func around(text string) string {
	i := max(strings.Index(text, marker), 0)
	return text[max(i-200, 0):min(i+100, len(text))]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
