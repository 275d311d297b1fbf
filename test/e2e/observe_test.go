//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// The alerts are tried with a window and a `for` of seconds.
const (
	window = 20 * time.Second
	soon   = 45 * time.Second // within which an alert fires or clears whose cause is there or gone
)

const observed = "default/observability"

// observer is the cluster with everything that looks at it.
type observer struct {
	*cluster
	prometheus *prometheusServer
	otlp       *otlpReceiver
	alerts     map[string]bool // that there are; true when one was seen to fire
}

// TestSeenFromOutside scrapes a cluster with a real Prometheus and breaks it in one way after another:
// each alert of the chart fires and clears, every metric that the alerts, the dashboard and the docs
// name is really there, and a trace shows the way of an event through the stages.
func TestSeenFromOutside(t *testing.T) {
	together(t)
	otlp := startOTLP(t)
	o := &observer{cluster: newClusterOn(t, []*natsserver.Server{harness.StartNATS(t, natsserver.Options{MaxPayload: observedPayload})},
		"collectors.kubernetes.enabled=true", "operator.extraArgs={--resync-interval=1s}",
		"tracing.endpoint="+otlp.url, "tracing.sampleRatio=1"), otlp: otlp, alerts: map[string]bool{}}
	o.run("kubectl", "apply", "-f", o.root+"/config/samples/observability.yaml")
	// It has one lane, so one worker is enough; the metrics of autoscaling are there all the same.
	o.patch(`{"op":"add","path":"/spec/stages/0/workers","value":{"max":2}}`)
	harness.Eventually(t, 90*time.Second, func() error { return o.ready("pipelines.millrace.dev", "observability") })

	names := regexp.MustCompile(`(?m)^  - alert: (\w+)$`).FindAllStringSubmatch(o.file("charts/millrace/files/rules/millrace.yaml"), -1)
	values := []string{"nats.url=" + o.url(), "collectors.kubernetes.enabled=true", "monitoring.prometheusRule.window=" + window.String()}
	for _, match := range names {
		o.alerts[match[1]] = false
		values = append(values, "monitoring.prometheusRule.for."+match[1]+"=1s")
	}
	o.prometheus = o.startPrometheus(o.monitors(values...))

	parts := []struct {
		name string
		run  func(*testing.T)
	}{
		{"a healthy pipeline raises no alert", o.healthy},
		{"one trace shows the way of an event", o.traced},
		{"dead letters", o.deadLetters},
		{"a responder is away", o.responderAway},
		{"a stage stands still and falls behind; meanwhile a change is refused, another never gets ready", o.stageStands},
		{"the operator is down, a stream and a consumer are gone", o.operatorDown},
		{"NATS is down", o.natsDown},
		{"the operator loses its rights", o.rightsLost},
		{"an event is larger than NATS takes", o.tooLarge},
		{"every alert was seen", o.allSeen},
		{"stages of other kinds are scraped", o.otherKinds},
		{"every metric of alerts, dashboard and docs is there", o.everyMetric},
	}
	for _, part := range parts {
		ok := t.Run(part.name, func(t *testing.T) {
			o.t, o.prometheus.t = t, t
			part.run(t)
		})
		if !ok {
			t.FailNow()
		}
	}
}

func (o *observer) fires(within time.Duration, name string, labels ...string) {
	o.t.Helper()
	o.prometheus.wantFiring(within, name, labels...)
	o.alerts[name] = true
}

func (o *observer) file(path string) string {
	o.t.Helper()
	data, err := os.ReadFile(filepath.Join(o.root, path))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(data)
}

// pump publishes events until stop is called. What NATS refuses is not published.
func (o *observer) pump(every time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			_, _ = o.js.PublishAsync("events.raw.load", fmt.Appendf(nil, `{"id":"load-%d-%d","source":"/e2e","type":"app.log","body":"hello"}`, time.Now().UnixNano(), i))
			select {
			case <-time.After(every):
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (o *observer) healthy(t *testing.T) {
	stop := o.pump(20 * time.Millisecond)
	defer stop()
	harness.Eventually(t, soon, func() error {
		for expression, want := range map[string]int{
			`millrace_pipeline_ready{pipeline="` + observed + `"} == 1`:                      1,
			`millrace_stage_ready == 1`:                                                      4,
			`millrace_worker_ready == 1`:                                                     4,
			`millrace_operator_leader == 1`:                                                  1,
			`rate(millrace_stage_events_total{outcome="emitted"}[20s]) > 0`:                  2,
			`millrace_collect_contact == 1`:                                                  1,
			`histogram_quantile(0.99, rate(millrace_event_latency_seconds_bucket[20s])) > 0`: 2,
		} {
			if n, err := o.prometheus.query(expression); err != nil || n < want {
				return fmt.Errorf("%s: %d series, want %d (%w)", expression, n, want, errOr(err))
			}
		}
		return nil
	})
	o.prometheus.wantClear(soon)
	harness.Consistently(t, window, func() error {
		if all, err := o.prometheus.firing(); err != nil || len(all) > 0 {
			return fmt.Errorf("these fire: %v (%w)", all, errOr(err))
		}
		return nil
	})
	t.Log("\n" + o.run("kubectl", "get", "pipelines.millrace.dev,stages.millrace.dev"))
}

func errOr(err error) error {
	if err == nil {
		return errNotFound
	}
	return err
}

// traced: the sender's trace goes on in validate, and from there to enrich and to both that read enrich.
func (o *observer) traced(t *testing.T) {
	const traceID, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	o.publish("events.raw.traced", []byte(`{"id":"traced-1","source":"/e2e","type":"app.log","body":"hello"}`), "traceparent", "00-"+traceID+"-"+span+"-01")
	harness.Eventually(t, soon, func() error {
		way := o.otlp.way(traceID, span)
		for _, want := range []string{">validate", "validate>enrich", "enrich>correlate", "enrich>analyze"} {
			if !way[want] {
				return fmt.Errorf("the trace has %v, not %s", way, want)
			}
		}
		return nil
	})
}

func (o *observer) deadLetters(t *testing.T) {
	o.publish("events.raw.demo", []byte("\x00 this is no event"))
	o.fires(soon, "MillraceDeadLetters", "pipeline", observed, "stage", "validate")
	o.prometheus.wantClear(window+soon, "MillraceDeadLetters")
}

func (o *observer) patch(operation string) {
	o.t.Helper()
	o.run("kubectl", "patch", "pipelines.millrace.dev", "observability", "--type=json", "-p", "["+operation+"]")
}

// stageStands takes the workers of enrich away for as long as it takes to fall a minute behind.
func (o *observer) stageStands(t *testing.T) {
	stop := o.pump(20 * time.Millisecond)
	defer stop()
	o.run("kubectl", "scale", "stages.millrace.dev/observability-enrich", "--replicas=0")
	began := time.Now()

	o.patch(`{"op":"replace","path":"/spec/stages/0/validate/rules/0/expression","value":"event.id !="}`)
	o.fires(soon, "MillracePipelineStalled", "pipeline", observed)
	t.Log("\n" + o.run("kubectl", "get", "pipelines.millrace.dev") + o.run("kubectl", "describe", "pipelines.millrace.dev", "observability"))
	o.patch(`{"op":"replace","path":"/spec/stages/0/validate/rules/0/expression","value":"event.id != ''"}`)
	o.prometheus.wantClear(soon, "MillracePipelineStalled")

	o.patch(`{"op":"add","path":"/spec/stages/3/workers","value":{"image":"nowhere:1"}}`)
	o.fires(soon, "MillracePipelineNotReady", "pipeline", observed)
	t.Log("\n" + o.run("kubectl", "get", "stages.millrace.dev") + o.run("kubectl", "describe", "stages.millrace.dev", "observability-analyze"))
	o.patch(`{"op":"remove","path":"/spec/stages/3/workers"}`)
	o.prometheus.wantClear(soon, "MillracePipelineNotReady")

	o.fires(soon, "MillraceStageStalled", "pipeline", observed, "stage", "enrich")
	o.fires(time.Minute+soon-time.Since(began), "MillraceLagGrowing", "pipeline", observed, "stage", "enrich")
	o.run("kubectl", "scale", "stages.millrace.dev/observability-enrich", "--replicas=1")
	o.prometheus.wantClear(window+soon, "MillraceStageStalled", "MillraceLagGrowing")
}

// operatorDown: nobody repairs what is deleted, until the operator is back.
func (o *observer) operatorDown(t *testing.T) {
	stop := o.pump(20 * time.Millisecond)
	defer stop()
	o.run("kubectl", "-n", "millrace-system", "scale", "deployment/millrace", "--replicas=0")
	o.fires(soon, "MillraceOperatorDown")
	if err := o.js.DeleteStream(t.Context(), "VALIDATED_EVENTS"); err != nil {
		t.Fatal(err)
	}
	if err := o.js.DeleteConsumer(t.Context(), "ENRICHED_EVENTS", "default-observability-correlate"); err != nil {
		t.Fatal(err)
	}
	o.fires(soon, "MillraceOutputBlocked", "pipeline", observed, "stage", "validate", "stream", "VALIDATED_EVENTS")
	o.fires(soon, "MillraceWorkerNotReady", "pipeline", observed, "stage", "correlate")
	o.run("kubectl", "-n", "millrace-system", "scale", "deployment/millrace", "--replicas=1")
	o.prometheus.wantClear(2*soon, "MillraceOperatorDown", "MillraceOutputBlocked", "MillraceWorkerNotReady")
}

func (o *observer) natsDown(t *testing.T) {
	o.nats[0].Kill9()
	o.fires(soon, "MillraceNATSUnreachable", "pipeline", observed)
	o.apply(crashLoop) // something to collect
	o.fires(soon, "MillraceCollectorFailing")
	harness.Eventually(t, soon, func() error { return o.event("Pipeline", "observability", "Warning", "NATSUnreachable") })
	t.Log("\n" + o.run("kubectl", "get", "pipelines.millrace.dev,stages.millrace.dev"))
	if n, err := o.prometheus.query("millrace_stage_lag_events"); err != nil || n > 0 {
		t.Errorf("the lag of %d stages is shown while nobody knows it (%v)", n, err)
	}
	if err := o.nats[0].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.run("kubectl", "delete", "deployment", "payments")
	// The operator looks again after a minute at most.
	o.prometheus.wantClear(time.Minute+soon, "MillraceNATSUnreachable", "MillraceCollectorFailing")
	harness.Eventually(t, soon, func() error { return o.event("Pipeline", "observability", "Normal", "Ready") })
}

// event looks for an Event about an object.
func (o *observer) event(kind, name, class, reason string) error {
	out, err := o.try("kubectl", "get", "events.events.k8s.io", "-o", "json")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	var list struct {
		Items []struct {
			Type, Reason, Note string
			Regarding          struct{ Kind, Name string }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	for _, e := range list.Items {
		if e.Regarding.Kind == kind && e.Regarding.Name == name && e.Type == class && e.Reason == reason {
			return nil
		}
	}
	return fmt.Errorf("no Event %s %s about %s %s", class, reason, kind, name)
}

// rightsLost takes the operator's ClusterRole away while it has something to write.
func (o *observer) rightsLost(*testing.T) {
	const binding = "millrace-system:millrace"
	saved := o.run("kubectl", "get", "clusterrolebinding", binding, "-o", "yaml")
	o.run("kubectl", "delete", "clusterrolebinding", binding)
	o.run("kubectl", "delete", "deployment", "-l", "millrace.dev/stage=analyze")
	o.fires(soon, "MillraceReconcileErrors")
	o.apply(saved)
	o.prometheus.wantClear(window+2*soon, "MillraceReconcileErrors")
}

// observedPayload is the max_payload of the NATS server, so that an event of Kubernetes may be larger.
const observedPayload = 24 << 10

// tooLarge has the collector drop an event. The alert stays for an hour.
func (o *observer) tooLarge(t *testing.T) {
	text := make([]byte, observedPayload) // twice as much in hexadecimal, of which the collector takes 32 KiB
	if _, err := rand.Read(text); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Event", "metadata": {"name": "large", "namespace": "default"}, "type": "Warning",
	"reason": "Large", "involvedObject": {"kind": "Pod", "namespace": "default", "name": "large"}, "message": %q}`, hex.EncodeToString(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	o.run("kubectl", "create", "-f", file)
	o.fires(soon, dropsEvents)
}

const dropsEvents = "MillraceCollectorDropsEvents"

func (o *observer) allSeen(t *testing.T) {
	for name, seen := range o.alerts {
		if !seen {
			t.Errorf("%s was not seen to fire", name)
		}
	}
	if len(o.alerts) == 0 {
		t.Error("there are no alerts")
	}
	delete(o.alerts, dropsEvents)
	o.prometheus.wantClear(2*soon, slices.Sorted(maps.Keys(o.alerts))...)
}

// otherKinds are stages of kinds that have metrics of their own, and that the sample has not.
const otherKinds = `
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: tried, namespace: default}
spec:
  pipelineRef: {name: observability}
  from: [enrich]
  experiment: {mode: Mirror, variants: [{name: a, weight: 1}, {name: b, weight: 1}]}
---
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: compared, namespace: default}
spec:
  pipelineRef: {name: observability}
  from: [tried/a, tried/b]
  compare: {mode: Mirror, outcome: event.severity >= 9, interval: 10s}
---
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: joined, namespace: default}
spec:
  pipelineRef: {name: observability}
  from: [validate, enrich]
  join: {deadline: 30s}
---
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: learned, namespace: default}
spec:
  pipelineRef: {name: observability}
  from: [enrich]
  correlate: {patterns: {}}
---
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: scored, namespace: default}
spec:
  pipelineRef: {name: observability}
  from: [enrich]
  analyze:
    inference:
      model:
        name: risk
        format: Linear
        configMapRef: {name: inference-models, key: risk.json}
        sha256: 6af3eeda72589e39609c65bec639fa039dfa68499a8d8176dcd64040aaf13b02
      features:
      - {name: restarts, expression: 'event.attributes["restarts"]'}
      - {name: latency, expression: 'event.attributes["latency.ms"]'}
      - {name: errors, expression: 'event.attributes["errors"]'}
      - {name: memory, expression: 'event.attributes["memory.change"]'}
      - {name: age, expression: 'event.attributes["age.seconds"]'}
`

func (o *observer) otherKinds(*testing.T) {
	o.run("kubectl", "create", "configmap", "inference-models", "--from-file="+o.root+"/config/samples/inference-models/risk.json")
	o.apply(otherKinds)
	stop := o.pump(20 * time.Millisecond)
	defer stop()
	harness.Eventually(o.t, 90*time.Second, func() error {
		for _, expression := range []string{
			`sum(millrace_join_barriers_total{outcome="complete"}) > 0`, `millrace_compare_unmatched_total`, `millrace_join_late_events_total`,
			`millrace_correlate_patterns_held`, `millrace_correlate_patterns_evicted_total`, `millrace_analyze_model_info{model="risk"} == 1`, `millrace_analyze_predictions_refused_total > 0`,
		} {
			if n, err := o.prometheus.query(expression); err != nil || n == 0 {
				return fmt.Errorf("%s: nothing was scraped (%w)", expression, errOr(err))
			}
		}
		return nil
	})
}

var metricName = regexp.MustCompile(`\b(?:millrace|controller_runtime)_[a-z0-9_]+`)

// everyMetric compares names with what was scraped.
func (o *observer) everyMetric(t *testing.T) {
	scraped := o.prometheus.names()
	dashboard := o.file("charts/millrace/files/dashboards/millrace.json")
	for _, text := range []string{o.file("charts/millrace/files/rules/millrace.yaml"), dashboard} {
		for _, name := range metricName.FindAllString(text, -1) {
			if !scraped[name] {
				t.Errorf("%s is used and was never scraped", name)
			}
		}
	}
	o.dashboardQueries(t, dashboard)

	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(millrace_[a-z0-9_]+)` \\|.*$").FindAllStringSubmatch(o.file("docs/observability.md"), -1) {
		documented[row[1]] = true
		first := strings.Contains(row[0], "from the first one on")
		if !scraped[row[1]] && !scraped[row[1]+"_bucket"] && !first {
			t.Errorf("docs/observability.md has %s, which was never scraped", row[1])
		}
	}
	for name := range scraped {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && scraped[base+"_bucket"] {
				name = base
			}
		}
		if strings.HasPrefix(name, "millrace_") && !documented[name] {
			t.Errorf("docs/observability.md does not have %s", name)
		}
	}
}

// dashboardQueries has Prometheus evaluate every panel.
func (o *observer) dashboardQueries(t *testing.T, dashboard string) {
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(dashboard), &d); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$pipeline", ".*", "$stage", ".*", "$__rate_interval", "5m")
	empty := 0
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			n, err := o.prometheus.query(variables.Replace(target.Expr))
			if err != nil {
				t.Errorf("panel %q: %v", panel.Title, err)
			}
			if n == 0 {
				empty++
				t.Logf("panel %q shows nothing now: %s", panel.Title, target.Expr)
			}
		}
	}
	if empty > 2 { // what is not true, where all is well
		t.Errorf("%d queries of the dashboard show nothing", empty)
	}
}
