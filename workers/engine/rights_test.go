package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/engine/stats"
)

// workerRights are those that doc.go says a worker needs.
func workerRights() *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"out.validated.*", "insights.validate.*.*", "dead.validate.*",
			"$JS.API.STREAM.MSG.GET.OUT", "$JS.API.STREAM.MSG.GET.INSIGHTS", "$JS.API.STREAM.MSG.GET.DEAD",
			"$JS.API.CONSUMER.INFO.IN.stage", "$JS.API.CONSUMER.RESET.IN.stage", "$JS.API.CONSUMER.MSG.NEXT.IN.stage", "$JS.ACK.IN.stage.>", "$JS.ACK.*.*.IN.stage.>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_validate.>"}},
	}
}

func withUsers(worker *server.Permissions) rigOption {
	return func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "admin"},
			{Username: "worker", Password: "worker", Permissions: worker},
		}
	}
}

func TestFewRightsAreEnough(t *testing.T) {
	r := newRig(t, withUsers(workerRights()))
	want := r.publish("e", 50)
	r.send(nats.NewMsg("in.raw.x"), []byte("no event"))
	e := r.run(&testStage{}, nil)
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
	if n := len(r.stored("DEAD")); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

func TestMissingRightIsNamed(t *testing.T) {
	rights := workerRights()
	rights.Publish.Allow = []string{"out.validated.*"}
	r := newRig(t, withUsers(rights))
	e := r.run(&testStage{}, nil)
	eventually(t, 10*time.Second, func() string {
		if ok, text := e.Ready(); ok || !strings.Contains(text, "CONSUMER.INFO") || !strings.Contains(text, "IN/stage") {
			return text
		}
		return ""
	})
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	r.publish("e", 50)
	r.send(nats.NewMsg("in.raw.x"), []byte("no event"))
	registry := prometheus.NewRegistry()
	e := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Metrics = stats.NewMetrics(registry) })
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	got := gathered(t, registry)
	for series, want := range map[string]float64{
		"millrace_stage_events_total outcome=emitted pipeline=default/test stage=validate":          50,
		"millrace_stage_events_total outcome=dead_lettered pipeline=default/test stage=validate":    1,
		"millrace_stage_events_total outcome=filtered pipeline=default/test stage=validate":         0,
		"millrace_dead_letter_events_total pipeline=default/test reason=undecodable stage=validate": 1,
		"millrace_stage_inflight_frames pipeline=default/test stage=validate":                       0,
		"millrace_worker_lag_events pipeline=default/test stage=validate":                           got["millrace_worker_lag_events pipeline=default/test stage=validate"],
		"millrace_worker_lag_seconds pipeline=default/test stage=validate":                          got["millrace_worker_lag_seconds pipeline=default/test stage=validate"],
	} {
		if value, ok := got[series]; !ok || value != want {
			t.Errorf("%s: got %v (there: %v), want %v", series, value, ok, want)
		}
	}
	for _, histogram := range []string{"millrace_stage_process_seconds", "millrace_event_latency_seconds"} {
		if n := got[histogram+" pipeline=default/test stage=validate"]; n < 1 {
			t.Errorf("%s has %v observations", histogram, n)
		}
	}
}

// gathered returns the value of every series, and the number of observations of histograms.
func gathered(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// TestReconnectNeedsNoMoreRights: a lane goes on after a reconnect, when the server has moved its floor over messages of others.
func TestReconnectNeedsNoMoreRights(t *testing.T) {
	r := newRig(t, withUsers(workerRights()))
	r.consumer(func(c *jetstream.ConsumerConfig) { c.FilterSubject = "in.raw.>" })
	e := r.run(&testStage{}, func(c *config.StageConfig, _ *engine.Options) { c.Inputs[0].Subject = "in.raw.>" })
	r.publish("e", 1)
	r.wantDrained(10 * time.Second)
	r.send(nats.NewMsg("in.other.x"), []byte(eventJSON("foreign")))
	r.moveFloor("IN", "stage", 2)
	if err := e.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	r.publish("f", 1)
	eventually(t, 15*time.Second, func() string {
		if stored, _ := r.count("OUT"); len(stored) != 2 {
			ok, why := e.Ready()
			return fmt.Sprintf("f0 is not stored; ready %t: %s", ok, why)
		}
		return ""
	})
}
