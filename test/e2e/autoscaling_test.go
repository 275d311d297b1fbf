//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/test/harness"
)

// steady is how long the steady load of TestSteadyLoad lasts; `make e2e` makes it longer.
var steady = flag.Duration("steady", 40*time.Second, "how long the steady load of TestSteadyLoad lasts")

// slowRules cost a worker about a millisecond for each event, so that a lag builds up at a rate
// that the rest of the machine does not feel.
func slowRules() string {
	numbers := make([]string, 40)
	for i := range numbers {
		numbers[i] = strconv.Itoa(i + 1)
	}
	list := "[" + strings.Join(numbers, ",") + "]"
	rule := `{expression: "` + list + ".all(x, " + list + `.all(y, x * y > 0))", message: is always true}`
	return strings.Join([]string{rule, rule, rule, rule}, ", ")
}

// scaledPipeline has a fast stage of one lane, which makes frames, and a slow one of eight lanes, whose
// workers have one core each.
func scaledPipeline(name, workers string) string {
	upper := strings.ToUpper(name)
	return `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: ` + name + `, namespace: default}
spec:
  subjectPrefix: ` + name + `
  ingress: {stream: ` + upper + `_RAW}
  stages:
  - name: frame
    from: [ingress]
    output: {stream: ` + upper + `_FRAMED}
    validate: {}
  - name: slow
    from: [frame]
    output: {stream: ` + upper + `_DONE}
    workers: {image: one-core, ` + workers + `}
    validate: {rules: [` + slowRules() + `]}
`
}

// newScalingCluster installs the chart with external metrics and leads the API server to them.
func newScalingCluster(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, "autoscaling.backend=external", "autoscaling.scaleDownWindow=6s")
	c.exposeMetrics()
	return c
}

// exposeMetrics points the Service of the external metrics to the operator's pod: the harness has no
// kube-proxy, and its API server calls what an ExternalName says.
func (c *cluster) exposeMetrics() {
	c.t.Helper()
	ip := c.run("kubectl", "get", "pods", "-n", "millrace-system", "-l", "app.kubernetes.io/component=operator", "-o", "jsonpath={.items[0].status.podIP}")
	c.run("kubectl", "patch", "service", "millrace-external-metrics", "-n", "millrace-system", "--type=merge",
		"-p", `{"spec":{"type":"ExternalName","externalName":"`+ip+`","clusterIP":null,"clusterIPs":null}}`)
	c.run("kubectl", "wait", "--for=condition=Available", "--timeout=60s", "apiservice", "v1beta1.external.metrics.k8s.io")
}

// moment is one look at a stage.
type moment struct {
	at                   time.Duration
	lag, wanted          int64
	asked, ready, target int32
}

func (m moment) String() string {
	return fmt.Sprintf("%5.1fs  lag %7d  wanted %d  autoscaler %d  replicas %d  ready %d", m.at.Seconds(), m.lag, m.wanted, m.target, m.asked, m.ready)
}

// timeline looks at a stage every second until the context ends.
func (c *cluster) timeline(ctx context.Context, stage string) <-chan []moment {
	done := make(chan []moment, 1)
	go func() {
		var all []moment
		defer func() { done <- all }()
		start := time.Now()
		for ctx.Err() == nil {
			if m, err := c.look(ctx, stage); err == nil {
				m.at = time.Since(start)
				all = append(all, m)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	return done
}

func (c *cluster) look(ctx context.Context, stage string) (m moment, err error) {
	d, err := c.plane.Client().AppsV1().Deployments("default").Get(ctx, stage, metav1.GetOptions{})
	if err != nil {
		return m, err
	}
	m.asked, m.ready = *d.Spec.Replicas, d.Status.ReadyReplicas
	if hpa, err := c.plane.Client().AutoscalingV2().HorizontalPodAutoscalers("default").Get(ctx, stage, metav1.GetOptions{}); err == nil {
		m.target = hpa.Status.DesiredReplicas
	}
	pipeline, name, _ := strings.Cut(stage, "-")
	if m.lag, err = c.external(ctx, "millrace_stage_lag_events", pipeline, name); err != nil {
		return m, err
	}
	m.wanted, err = c.external(ctx, "millrace_stage_wanted_workers", pipeline, name)
	if apierrors.IsNotFound(err) { // nobody scales it
		m.wanted, err = -1, nil
	}
	return m, err
}

// external asks the API server for an external metric, as an autoscaler does.
func (c *cluster) external(ctx context.Context, metric, pipeline, stage string) (int64, error) {
	data, err := c.plane.Client().Discovery().RESTClient().Get().
		AbsPath("/apis/external.metrics.k8s.io/v1beta1/namespaces/default/"+metric).
		Param("labelSelector", "millrace.dev/pipeline="+pipeline+",millrace.dev/stage="+stage).DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	var list struct {
		Items []struct {
			MetricLabels map[string]string
			Value        json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return 0, err
	}
	if len(list.Items) != 1 || list.Items[0].MetricLabels["millrace.dev/stage"] != stage {
		return 0, fmt.Errorf("got %s, want one value of stage %s", data, stage)
	}
	return quantity(strings.Trim(string(list.Items[0].Value), `"`))
}

// report prints a timeline, where something happens and every five seconds, and returns its largest lag and number of replicas, and how often the number
// changed.
func report(t *testing.T, all []moment) (lag int64, replicas int32, changes int) {
	t.Helper()
	var said moment
	for i, m := range all {
		if m.at-said.at >= 5*time.Second || m.asked != said.asked || m.ready != said.ready || m.target != said.target || i == len(all)-1 {
			t.Log(m)
			said = m
		}
		lag, replicas = max(lag, m.lag), max(replicas, m.asked)
		if i > 0 && all[i-1].asked != m.asked {
			changes++
		}
	}
	return lag, replicas, changes
}

// TestAutoscaling lets the real HorizontalPodAutoscaler scale a stage from one worker to eight and back,
// under load, and counts every event.
func TestAutoscaling(t *testing.T) {
	together(t)
	c := newScalingCluster(t)
	c.apply(scaledPipeline("scaled", "min: 1, max: 8, targetLag: 3000"))
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "scaled") })

	t.Run("one to eight to one under load", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		timeline := c.timeline(ctx, "scaled-slow")
		const events = 80_000
		if err := publishNumbered(t.Context(), c.js, "scaled.raw.load", events, 50); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, 4*time.Minute, func() error {
			m, err := c.look(t.Context(), "scaled-slow")
			if err == nil && (m.lag > 0 || m.asked != 1 || m.ready != 1) {
				err = fmt.Errorf("not back at one worker without lag: %s", m)
			}
			return err
		})
		time.Sleep(2 * time.Second) // the timeline is to show the end
		stop()
		lag, replicas, changes := report(t, <-timeline)
		t.Logf("lag rose to %d, replicas to %d; the number changed %d times", lag, replicas, changes)
		if lag < 3000 || replicas != 8 {
			t.Errorf("lag rose to %d and replicas to %d, want more than 3000 and 8", lag, replicas)
		}
		c.balance(t, "SCALED_DONE", "scaled.slow.>", events)
	})
	t.Run("status says why", func(t *testing.T) {
		out := c.run("kubectl", "get", "stages.millrace.dev", "scaled-slow", "-o", "jsonpath={.status.autoscaling}")
		for _, want := range []string{`"backend":"external"`, `"desired":1`, `"reason":"`, `"rate":`} {
			if !strings.Contains(out, want) {
				t.Errorf("status.autoscaling is %s, want %s in it", out, want)
			}
		}
		c.run("kubectl", "wait", "--for=condition=AutoscalingReady", "--timeout=30s", "stages.millrace.dev/scaled-slow")
		t.Log(out)
	})
	t.Run("discovery is whole", func(t *testing.T) {
		// Else no namespace could be deleted.
		harness.Eventually(t, time.Minute, func() error {
			_, err := c.plane.Client().Discovery().ServerPreferredResources()
			return err
		})
	})
	t.Run("only the API server may ask", func(t *testing.T) { testMetricsAccess(t, c) })
	t.Run("from zero to work and back", func(t *testing.T) { testFromZero(t, c) })
	t.Run("kubectl scale stops it and holds a number", func(t *testing.T) { testHeld(t, c) })
	t.Run("another one's APIService is left alone", func(t *testing.T) { testForeign(t, c) })
}

// testMetricsAccess asks as a user without rights, and past the API server.
func testMetricsAccess(t *testing.T, c *cluster) {
	const path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/millrace_stage_lag_events"
	out, err := c.try("kubectl", "get", "--raw", path, "--as=nobody")
	if err == nil || !strings.Contains(out, "Forbidden") {
		t.Errorf("a user without rights: got %v %s, want Forbidden", err, out)
	}
	if out, err := c.try("kubectl", "get", "--raw", path+"?labelSelector=millrace.dev/stage=none"); err == nil || !strings.Contains(out, "NotFound") {
		t.Errorf("a stage that does not exist: got %v %s, want NotFound and never an empty list", err, out)
	}
	ip := c.run("kubectl", "get", "pods", "-n", "millrace-system", "-l", "app.kubernetes.io/component=operator", "-o", "jsonpath={.items[0].status.podIP}")
	client := &http.Client{Transport: trusting(), Timeout: 10 * time.Second}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+ip+":6443"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Remote-User", "system:admin")
	request.Header.Set("X-Remote-Group", "system:masters")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("past the API server: got %s, want 401", response.Status)
	}
}

// testFromZero lets a stage without workers wake by one event, and go to sleep again.
func testFromZero(t *testing.T, c *cluster) {
	c.apply(scaledPipeline("asleep", "min: 0, max: 4, targetLag: 3000"))
	replicas := func() (moment, error) { return c.look(t.Context(), "asleep-slow") }
	harness.Eventually(t, 90*time.Second, func() error {
		m, err := replicas()
		if err == nil && (m.asked != 0 || m.ready != 0) {
			err = fmt.Errorf("not asleep: %s", m)
		}
		return err
	})
	start := time.Now()
	c.publish("asleep.raw.load", []byte(`{"id":"n-0","source":"/load","type":"app.log","body":"wake up"}`))
	var scaled, ready time.Duration
	harness.Eventually(t, time.Minute, func() error {
		m, err := replicas()
		if err != nil {
			return err
		}
		if m.asked > 0 && scaled == 0 {
			scaled = time.Since(start)
		}
		if m.ready == 0 {
			return fmt.Errorf("not awake: %s", m)
		}
		ready = time.Since(start)
		return nil
	})
	harness.Eventually(t, time.Minute, func() error {
		n, err := c.stored(t.Context(), "ASLEEP_DONE")
		if err == nil && n == 0 {
			err = fmt.Errorf("the event is not through yet")
		}
		return err
	})
	t.Logf("from zero: scaled after %s, ready after %s, through after %s", scaled.Round(time.Millisecond), ready.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	if scaled > 5*time.Second {
		t.Errorf("scaled from zero after %s, want 5s at most", scaled)
	}
	harness.Eventually(t, 90*time.Second, func() error {
		m, err := replicas()
		if err == nil && m.asked != 0 {
			err = fmt.Errorf("not asleep again: %s", m)
		}
		return err
	})
	c.balance(t, "ASLEEP_DONE", "asleep.slow.>", 1)
	c.run("kubectl", "delete", "pipelines.millrace.dev", "asleep", "--timeout=60s")
}

// testHeld: spec.replicas of a Stage outranks the lag until it is removed.
func testHeld(t *testing.T, c *cluster) {
	c.run("kubectl", "scale", "stages.millrace.dev", "scaled-slow", "--replicas=2")
	harness.Eventually(t, time.Minute, func() error {
		m, err := c.look(t.Context(), "scaled-slow")
		if err == nil && (m.asked != 2 || m.ready != 2) {
			err = fmt.Errorf("not held: %s", m)
		}
		return err
	})
	if out, err := c.try("kubectl", "get", "hpa", "scaled-slow"); err == nil {
		t.Errorf("the autoscaler is still there: %s", out)
	}
	c.run("kubectl", "patch", "stages.millrace.dev", "scaled-slow", "--type=json", "-p", `[{"op":"remove","path":"/spec/replicas"}]`)
	harness.Eventually(t, 2*time.Minute, func() error {
		m, err := c.look(t.Context(), "scaled-slow")
		if err == nil && (m.asked != 1 || m.target != 1) {
			err = fmt.Errorf("does not follow the lag: %s", m)
		}
		return err
	})
}

// metricsAPIService leads the API server's external metrics to a Service that it trusts as said.
func metricsAPIService(namespace, service string, port int, trust string) string {
	return fmt.Sprintf(`
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec:
  group: external.metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  %s
  service: {namespace: %s, name: %s, port: %d}
`, trust, namespace, service, port)
}

// testForeign: when another server has the name, the operator scales by itself and says so.
func testForeign(t *testing.T, c *cluster) {
	c.run("kubectl", "delete", "apiservice", "v1beta1.external.metrics.k8s.io")
	c.apply(metricsAPIService("default", "another-adapter", 443, "insecureSkipTLSVerify: true"))
	defer c.run("kubectl", "delete", "apiservice", "v1beta1.external.metrics.k8s.io")
	harness.Eventually(t, 90*time.Second, func() error {
		out, err := c.try("kubectl", "get", "stages.millrace.dev", "scaled-slow", "-o",
			`jsonpath={.status.conditions[?(@.type=="AutoscalingReady")]} {.status.autoscaling.backend}`)
		if err != nil || !strings.Contains(out, "ForeignMetricsAPI") || !strings.Contains(out, "default/another-adapter") || !strings.HasSuffix(out, "direct") {
			return fmt.Errorf("%v %s", err, out)
		}
		return nil
	})
	const events = 30_000
	if err := publishNumbered(t.Context(), c.js, "scaled.raw.second", events, 50); err != nil {
		t.Fatal(err)
	}
	t.Logf("the operator itself scaled from 1 to %d to 1", c.most(3*time.Minute, "scaled-slow", 1))
	if out := c.run("kubectl", "get", "apiservice", "v1beta1.external.metrics.k8s.io", "-o", "jsonpath={.spec}"); strings.Contains(out, "caBundle") {
		t.Errorf("another one's APIService was changed: %s", out)
	}
	if out, err := c.try("kubectl", "get", "hpa", "scaled-slow"); err == nil {
		t.Errorf("an autoscaler without metrics is left: %s", out)
	}
}

// TestSteadyLoad publishes at a steady rate that one worker cannot carry and two can, and counts the scale events
// after the first half.
func TestSteadyLoad(t *testing.T) {
	c := newScalingCluster(t)
	rate := c.paceOfOne(t)
	perSecond := int(1.3 * rate)
	c.apply(scaledPipeline("steady", "min: 1, max: 4, targetLag: 3000"))
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "steady") })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	timeline := c.timeline(ctx, "steady-slow")
	events, err := publishSteadily(t.Context(), c.js, "steady.raw.load", perSecond, *steady)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	all := <-timeline
	_, replicas, changes := report(t, all)
	_, _, late := report(t, all[len(all)/2:])
	t.Logf("one worker carries %.0f events/s; %d/s for %s: at most %d replicas, the number changed %d times, %d of them in the second half; a lag of %d at the end",
		rate, perSecond, *steady, replicas, changes, late, all[len(all)-1].lag)
	if late > 0 {
		t.Errorf("the number of workers changed %d times under a steady load, want 0", late)
	}
	if replicas < 2 || all[len(all)-1].lag > 10*3000 {
		t.Errorf("the load was not carried: %d replicas at most, a lag of %d at the end", replicas, all[len(all)-1].lag)
	}
	harness.Eventually(t, 4*time.Minute, func() error {
		m, err := c.look(t.Context(), "steady-slow")
		if err == nil && m.lag > 0 {
			err = fmt.Errorf("not drained: %s", m)
		}
		return err
	})
	c.balance(t, "STEADY_DONE", "steady.slow.>", events)
}

// paceOfOne is how many events a second one worker of a slow stage carries here.
func (c *cluster) paceOfOne(t *testing.T) float64 {
	t.Helper()
	c.apply(scaledPipeline("pace", "min: 1"))
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "pace") })
	const events = 15_000
	start := time.Now()
	if err := publishNumbered(t.Context(), c.js, "pace.raw.load", events, 50); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 3*time.Minute, func() error {
		m, err := c.look(t.Context(), "pace-slow")
		if err == nil && m.lag > 0 {
			err = fmt.Errorf("not through: %s", m)
		}
		return err
	})
	rate := events / time.Since(start).Seconds()
	c.run("kubectl", "delete", "pipelines.millrace.dev", "pace", "--timeout=60s")
	return rate
}
