//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/test/harness"
)

// asking is a stage that asks a responder, with an overflow.
const asking = `
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: asking, namespace: default}
spec:
  pipelineRef: {name: observability}
  from: [validate]
  output: {stream: ASKED_EVENTS, subject: asked}
  workers: {min: 2}
  gather: {nats: {subject: models.observed}, timeout: 200ms, onIncomplete: Hold}
  breaker: {whenOpen: Overflow, window: 5s, openFor: 1s}
`

const breakerAlert = "MillraceBreakerOpen"

// responderAway: while nobody answers a stage, its events go to the overflow, one alert fires, and the stage says how many events wait. It all
// ends when the responder is back. Then the stage is deleted while nobody answers: it stays until its overflow is empty.
func (o *observer) responderAway(t *testing.T) {
	leave := o.respond(t)
	o.apply(asking)
	harness.Eventually(t, 90*time.Second, func() error { return o.ready("stages.millrace.dev", "asking") })
	o.publishFor("answered", 200)
	harness.Eventually(t, soon, func() error { return o.asked(t) })

	began := time.Now()
	leave()
	o.publishFor("away", 2000)
	o.fires(soon, breakerAlert, "pipeline", observed, "stage", "asking", "target", "models.observed")
	harness.Eventually(t, soon, func() error {
		return o.says("BreakersClosed", "False", "BreakerOpen", "the circuit breaker of models.observed has been open since", "events wait in the overflow")
	})
	harness.Eventually(t, soon, func() error { return o.event("Stage", "asking", "Warning", "BreakerOpen") })
	// It goes to half-open and back meanwhile.
	o.publishFor("still away", 500)
	harness.Consistently(t, 5*time.Second, func() error { return o.fired(began, 1, 1) })
	harness.Eventually(t, soon, func() error { return o.says("WorkersAvailable", "True", "Ready") })
	o.prometheus.wantClear(soon, "MillraceWorkerNotReady", "MillracePipelineNotReady")
	t.Log("\n" + o.run("kubectl", "get", "stages.millrace.dev", "asking", "-o", "wide"))

	leave = o.respond(t)
	harness.Eventually(t, soon, func() error { return o.says("BreakersClosed", "True", "Ready", "all circuit breakers are closed") })
	o.prometheus.wantClear(soon, breakerAlert)
	harness.Eventually(t, soon, func() error { return o.asked(t) })
	if err := o.fired(began, 0, 1); err != nil {
		t.Error(err)
	}
	harness.Eventually(t, soon, func() error {
		if n, err := o.prometheus.query(`sum(millrace_stage_overflow_events{stage="asking"}) == 0`); err != nil || n != 1 {
			return fmt.Errorf("the overflow is not empty (%w)", errOr(err))
		}
		return nil
	})

	leave()
	o.publishFor("before it is deleted", 500)
	harness.Eventually(t, soon, func() error { return o.says("BreakersClosed", "False", "BreakerOpen", "events wait in the overflow") })
	o.run("kubectl", "delete", "stages.millrace.dev", "asking", "--wait=false")
	harness.Eventually(t, soon, func() error {
		return o.says("InputsDrained", "False", "EventsLeft", "ASKED_EVENTS", "events are left", "wait in the overflow until the circuit breaker closes")
	})
	harness.Consistently(t, 5*time.Second, func() error { return o.says("InputsDrained", "False", "EventsLeft") })
	leave = o.respond(t)
	defer leave()
	o.run("kubectl", "wait", "stages.millrace.dev/asking", "--for=delete", "--timeout=60s")
	if err := o.asked(t); err != nil {
		t.Error(err)
	}
	o.prometheus.wantClear(soon, breakerAlert)
	if err := o.fired(began, 0, 2); err != nil { // once for each time that nobody answered
		t.Error(err)
	}
}

// respond has a responder answer until it leaves.
func (o *observer) respond(t *testing.T) (leave func()) {
	t.Helper()
	conn, err := o.nats[0].Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if _, err = conn.Subscribe("models.observed", func(m *nats.Msg) { _ = m.Respond([]byte(`{"attributes": {"score": 1}}`)) }); err == nil {
		err = conn.FlushTimeout(10 * time.Second)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn.Close
}

// publishFor publishes events, about 500 a second.
func (o *observer) publishFor(name string, events int) {
	o.t.Helper()
	for i := range events {
		key := strings.ReplaceAll(name, " ", "-")
		o.publish("events.raw.asked", fmt.Appendf(nil, `{"id":"%s-%d","source":"/e2e/asked","type":"app.log","partitionkey":"k%d","body":"hello"}`, key, i, i%61))
	}
}

// asked fails the check unless each event of publishFor is stored once behind the stage, in order within its key.
func (o *observer) asked(t *testing.T) error {
	t.Helper()
	want, got := o.byKey(t, "VALIDATED_EVENTS", "events.validated.>"), o.byKey(t, "ASKED_EVENTS", "events.asked.*.*")
	for key, ids := range want {
		if a, b := fmt.Sprint(ids), fmt.Sprint(got[key]); a != b {
			return fmt.Errorf("key %s: %d events are stored behind the stage, want %d: got %.1000s, want %.1000s", key, len(got[key]), len(ids), b, a)
		}
	}
	if len(got) != len(want) || len(got) == 0 {
		return fmt.Errorf("events of %d keys are stored behind the stage, want %d", len(got), len(want))
	}
	return nil
}

// byKey are the ids of the events of publishFor that a stream holds, by their keys. The cluster makes others, also after the stage is deleted.
func (o *observer) byKey(t *testing.T, stream, filter string) map[string][]string {
	t.Helper()
	keys := map[string][]string{}
	for m := range o.messages(t, stream, filter) {
		for _, e := range frameEvents(t, m) {
			if e.GetSource() == "/e2e/asked" {
				keys[e.GetPartitionKey()] = append(keys[e.GetPartitionKey()], e.GetId())
			}
		}
	}
	return keys
}

// says fails the check unless a condition of the stage has a status and a reason, and its message has some parts.
func (o *observer) says(kind, status, reason string, parts ...string) error {
	out, err := o.try("kubectl", "get", "stages.millrace.dev", "asking", "-o", "json")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	var s struct {
		Status struct {
			Conditions []struct{ Type, Status, Reason, Message string }
		}
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return err
	}
	for _, c := range s.Status.Conditions {
		if c.Type != kind {
			continue
		}
		for _, part := range parts {
			if !strings.Contains(c.Message, part) {
				return fmt.Errorf("%s says %q, want %q", kind, c.Message, part)
			}
		}
		if c.Status == status && c.Reason == reason {
			return nil
		}
	}
	return fmt.Errorf("want %s %s %s, have %+v", kind, status, reason, s.Status.Conditions)
}

// fired fails the check unless one alert has fired since a time, so many times without a gap in between, and fires for so many series now.
func (o *observer) fired(since time.Time, now, times int) error {
	var data struct {
		Result []struct {
			Metric map[string]string
			Values [][2]any
		}
	}
	query := url.Values{
		"query": {`ALERTS{alertname="` + breakerAlert + `",alertstate="firing"}`}, "step": {"1"},
		"start": {fmt.Sprint(since.Unix())}, "end": {fmt.Sprint(time.Now().Unix())},
	}
	if _, err := o.prometheus.try("/api/v1/query_range?"+query.Encode(), &data); err != nil {
		return err
	}
	if len(data.Result) != 1 {
		return fmt.Errorf("%d alerts have fired, want 1: %+v", len(data.Result), data.Result)
	}
	periods, last := 0, 0.0
	for _, v := range data.Result[0].Values {
		at, ok := v[0].(float64)
		if !ok {
			return fmt.Errorf("no time: %v", v)
		}
		if at > last+1 {
			periods++
		}
		last = at
	}
	if periods != times {
		return fmt.Errorf("the alert has fired %d times, want %d", periods, times)
	}
	all, err := o.prometheus.firing()
	if err == nil && len(all[breakerAlert]) != now {
		err = fmt.Errorf("the alert fires for %v, want %d", all[breakerAlert], now)
	}
	return err
}
