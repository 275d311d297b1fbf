package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
)

// seedStreams are the streams of the six-stream sample.
var seedStreams = []string{"RAW_EVENTS", "VALIDATED_EVENTS", "ENRICHED_EVENTS", "CORRELATED_EVENTS", "ANALYTICS_RESULTS", "INSIGHTS"}

var seedStages = []string{"validate", "enrich", "correlate", "analyze"}

const crashLoop = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: payments, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: payments}}
  template:
    metadata: {labels: {app: payments}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: app
        image: crasher
        args: ["-c", "echo cannot read config; exit 3"]
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

// TestMainJob is the main job in a cluster, from helm install to helm uninstall.
func TestMainJob(t *testing.T) {
	together(t)
	c := newCluster(t, "collectors.kubernetes.enabled=true")
	c.run("kubectl", "apply", "-f", c.root+"/config/samples/observability.yaml")
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "observability") })

	t.Run("streams and consumers exist with the names of the sample", func(t *testing.T) {
		for _, name := range seedStreams {
			if _, err := c.js.Stream(t.Context(), name); err != nil {
				t.Errorf("stream %s: %v", name, err)
			}
		}
		for consumer, stream := range map[string]string{
			"validate": "RAW_EVENTS", "enrich_lane-0": "VALIDATED_EVENTS", "enrich_lane-7": "VALIDATED_EVENTS",
			"correlate": "ENRICHED_EVENTS", "analyze_lane-0": "ENRICHED_EVENTS",
		} {
			if _, err := c.js.Consumer(t.Context(), stream, "default-observability-"+consumer); err != nil {
				t.Errorf("consumer %s: %v", consumer, err)
			}
		}
		if _, err := c.js.KeyValue(t.Context(), "default_observability_events"); err != nil {
			t.Errorf("bucket of the leases: %v", err)
		}
	})
	t.Run("four deployments are available as processes", func(t *testing.T) {
		for _, stage := range seedStages {
			c.run("kubectl", "wait", "--for=condition=Available", "--timeout=30s", "deployment", "-l", "millrace.dev/stage="+stage)
			if _, err := c.workerPid(stage); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("the cluster's own events become an insight about the crash loop", func(t *testing.T) {
		c.apply(crashLoop)
		harness.Eventually(t, 120*time.Second, func() error {
			return c.insightAbout(t, "payments")
		})
		for _, stream := range seedStreams[:4] {
			if n, err := c.stored(t.Context(), stream); err != nil || n == 0 {
				t.Errorf("stream %s holds %d messages: %v", stream, n, err)
			}
		}
	})
	t.Run("single JSON messages work and garbage is dead-lettered as received", func(t *testing.T) { testLooseMessages(t, c) })
	t.Run("kubectl get says Ready with lag", func(t *testing.T) {
		harness.Eventually(t, 60*time.Second, func() error {
			out := c.run("kubectl", "get", "pipelines.millrace.dev", "observability")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if len(lines) != 2 {
				return fmt.Errorf("unexpected output:\n%s", out)
			}
			f := strings.Fields(lines[1])
			if !strings.Contains(lines[0], "LAG") || len(f) < 5 || f[1] != "True" {
				return fmt.Errorf("not ready with lag:\n%s", out)
			}
			t.Log("\n" + out)
			return nil
		})
	})
	t.Run("deleting the pipeline leaves nothing but the retained streams", func(t *testing.T) { testDelete(t, c) })
}

func testLooseMessages(t *testing.T, c *cluster) {
	c.publish("events.raw.demo", []byte(`{"id":"e2e-1","source":"/e2e","type":"app.log","severitynumber":9,"body":"hello"}`))
	garbage := []byte("\x00\x01 this is no event {")
	c.publish("events.raw.demo", garbage)
	harness.Eventually(t, 30*time.Second, func() error {
		return c.find(t, "VALIDATED_EVENTS", "events.validated.>", func(m jetstream.Msg) bool {
			return containsEvent(t, m, "e2e-1")
		})
	})
	harness.Eventually(t, 30*time.Second, func() error {
		return c.find(t, c.deadLetterStream(), "events.dead-letter.validate.0", func(m jetstream.Msg) bool {
			return string(m.Data()) == string(garbage) && m.Headers().Get("Millrace-Reason") == "undecodable" &&
				m.Headers().Get("Millrace-Stream") == "RAW_EVENTS" && m.Headers().Get("Millrace-Error") != ""
		})
	})
}

func testDelete(t *testing.T, c *cluster) {
	c.run("kubectl", "delete", "pipelines.millrace.dev", "observability", "--timeout=60s")
	harness.Eventually(t, 60*time.Second, func() error {
		out, err := c.try("kubectl", "get", "stages.millrace.dev,deployments,configmaps,pods", "-l", "millrace.dev/pipeline=observability", "-o", "name")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if strings.TrimSpace(out) != "" && !strings.Contains(out, "No resources found") {
			return fmt.Errorf("left behind:\n%s", out)
		}
		return nil
	})
	for _, name := range seedStreams {
		s, err := c.js.Stream(t.Context(), name)
		if err != nil {
			t.Errorf("stream %s was not retained: %v", name, err)
			continue
		}
		for c := range s.ConsumerNames(t.Context()).Name() {
			if strings.HasPrefix(c, "default-observability-") { // others are this test's own
				t.Errorf("stream %s: consumer %s is left behind", name, c)
			}
		}
	}
}

// insightAbout looks for an insight whose root cause or affected entities name the workload.
func (c *cluster) insightAbout(t *testing.T, workload string) error {
	var titles []string
	err := c.find(t, "INSIGHTS", "insights.>", func(m jetstream.Msg) bool {
		var e struct {
			Type string
			Data struct {
				Insight struct {
					Title     string
					RootCause struct{ Name string }
					Affected  []struct{ Name string }
					Evidence  []json.RawMessage
				}
			}
		}
		if json.Unmarshal(m.Data(), &e) != nil {
			return false
		}
		titles = append(titles, e.Data.Insight.Title)
		names := []string{e.Data.Insight.RootCause.Name}
		for _, a := range e.Data.Insight.Affected {
			names = append(names, a.Name)
		}
		for _, n := range names {
			if strings.HasPrefix(n, workload) && len(e.Data.Insight.Evidence) > 0 {
				return true
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("no insight about %s (insights: %q): %w", workload, titles, err)
	}
	return nil
}

var errNotFound = errors.New("no such message")

// find looks through a stream for a message that match accepts.
func (c *cluster) find(t *testing.T, stream, filter string, match func(jetstream.Msg) bool) error {
	t.Helper()
	for m := range c.messages(t, stream, filter) {
		if match(m) {
			return nil
		}
	}
	return errNotFound
}

func (c *cluster) deadLetterStream() string {
	name, err := c.js.StreamNameBySubject(c.t.Context(), "events.dead-letter.validate.0")
	if err != nil {
		c.t.Fatalf("stream of the dead letters: %v", err)
	}
	return name
}

// workerPid returns the process id of the first worker of a stage.
func (c *cluster) workerPid(stage string) (int, error) {
	out := c.run("kubectl", "get", "pods", "-l", "millrace.dev/stage="+stage, "--field-selector=status.phase=Running",
		"-o", "jsonpath={.items[0].metadata.name} {.items[0].spec.containers[0].name}")
	name, container, _ := strings.Cut(out, " ")
	return c.node.Pid("default", name, container)
}
