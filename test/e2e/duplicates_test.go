package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

const dedupedPipeline = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: deduped, namespace: default}
spec:
  subjectPrefix: deduped
  ingress: {stream: DEDUPED_RAW}
  deadLetters: {stream: DEDUPED_DEAD_LETTERS}
  stages:
  - name: once
    from: [ingress]
    output: {stream: DEDUPED_ONCE}
    validate: {dedupe: {window: 10m}}
  - name: more
    from: [once]
    output: {stream: DEDUPED_MORE}
    enrich: {semantic: {}}
`

// TestDuplicatesAreSeenInKubectl: events that are published again are counted in the status of the stage and of its
// Pipeline, and by kubectl get -o wide; also those that a worker counted that is gone.
func TestDuplicatesAreSeenInKubectl(t *testing.T) {
	together(t)
	c := newCluster(t, "operator.extraArgs={--status-interval=1s}")
	c.apply(dedupedPipeline)
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "deduped") })
	publish := func(from, to int) {
		t.Helper()
		var lines strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&lines, `{"id":"%d","source":"/t","type":"app.log"}`+"\n", i)
		}
		if _, err := c.js.Publish(t.Context(), "deduped.raw.t", []byte(lines.String())); err != nil {
			t.Fatal(err)
		}
	}
	field := func(kind, name, path string) string {
		return c.run("kubectl", "-n", "default", "get", kind, name, "-o", "jsonpath={"+path+"}")
	}
	wants := func(n string) {
		t.Helper()
		harness.Eventually(t, 60*time.Second, func() error {
			stage, pipeline := field("stages.millrace.dev", "deduped-once", ".status.duplicates.events"), field("pipelines.millrace.dev", "deduped", ".status.duplicates")
			if stage != n || pipeline != n {
				return fmt.Errorf("the stage has %q duplicates, its pipeline %q, want %s", stage, pipeline, n)
			}
			return nil
		})
	}
	wants("0")
	since := field("stages.millrace.dev", "deduped-once", ".status.duplicates.since")
	publish(0, 100)
	publish(0, 30)
	publish(50, 60)
	wants("40")

	// The worker is replaced: what it counted stays, and the next one goes on.
	c.run("kubectl", "-n", "default", "delete", "pod", "-l", "millrace.dev/stage=once", "--wait=true")
	publish(90, 110)
	wants("50")
	if got := field("stages.millrace.dev", "deduped-once", ".status.duplicates.since"); got != since || since == "" {
		t.Errorf("the count began at %q, want %q as before", got, since)
	}
	if got := field("stages.millrace.dev", "deduped-more", ".status.duplicates"); got != "" {
		t.Errorf("a stage without dedupe has duplicates: %s", got)
	}
	table := strings.Split(strings.TrimSpace(c.run("kubectl", "-n", "default", "get", "stages.millrace.dev", "deduped-once", "-o", "wide")), "\n")
	column := strings.Index(table[0], "DUPLICATES")
	if column < 0 || !strings.HasPrefix(table[1][column:], "50 ") {
		t.Errorf("kubectl get -o wide shows:\n%s", strings.Join(table, "\n"))
	}
}
