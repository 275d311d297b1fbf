package e2e

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
)

const killPipeline = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: kill, namespace: default}
spec:
  subjectPrefix: kill
  ingress: {stream: KILL_RAW}
  stages:
  - name: check
    from: [ingress]
    output: {stream: KILL_CHECKED}
    workers: {min: 2}
    validate: {rules: [{expression: "event.id != ''", message: id must be set}]}
  - name: label
    from: [check]
    output: {stream: KILL_LABELLED}
    workers: {min: 2}
    enrich: {semantic: {}, trace: {}}
  - name: tag
    from: [label]
    output: {stream: KILL_TAGGED}
    placement: {with: label}
    enrich: {semantic: {rules: [{id: tag, type: app.log, class: tagged, category: information}]}}
`

// TestKillWorkers kills workers with SIGKILL, several times, while events flow, and counts
// every event in and out.
func TestKillWorkers(t *testing.T) {
	together(t)
	c := newCluster(t)
	c.apply(killPipeline)
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "kill") })

	const events, perMessage = 60_000, 50
	published := make(chan error, 1)
	go func() { published <- publishNumbered(t.Context(), c.js, "kill.raw.load", events, perMessage) }()
	for _, stage := range []string{"check", "label", "check", "label"} {
		time.Sleep(1500 * time.Millisecond) // let load flow between the kills
		var pid int
		harness.Eventually(t, 30*time.Second, func() (err error) { pid, err = c.workerPid(stage); return err })
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("kill worker of %s: %v", stage, err)
		}
		t.Logf("killed worker %d of %s", pid, stage)
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	durables := []struct{ stream, name string }{{"KILL_RAW", "default-kill-check"}}
	for lane := range 8 {
		durables = append(durables, struct{ stream, name string }{"KILL_CHECKED", fmt.Sprintf("default-kill-label_lane-%d", lane)})
	}
	for _, d := range durables {
		harness.Eventually(t, 120*time.Second, func() error { return drained(t.Context(), c.js, d.stream, d.name) })
	}
	for stream, filter := range map[string]string{"KILL_CHECKED": "kill.check.>", "KILL_LABELLED": "kill.label.>", "KILL_TAGGED": "kill.tag.>"} {
		c.balance(t, stream, filter, events)
	}
}

func drained(ctx context.Context, js jetstream.JetStream, stream, durable string) error {
	cons, err := js.Consumer(ctx, stream, durable)
	if err != nil {
		return err
	}
	if i := cons.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
		return fmt.Errorf("%s: %d pending, %d not acknowledged", durable, i.NumPending, i.NumAckPending)
	}
	return nil
}
