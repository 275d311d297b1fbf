package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

const livePipeline = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: live, namespace: default}
spec:
  subjectPrefix: live
  ingress: {stream: LIVE_RAW}
  deadLetters: {stream: LIVE_DEAD_LETTERS}
  stages:
  - name: check
    from: [ingress]
    output: {stream: LIVE_CHECKED}
    validate: {rules: [{expression: "event.id != ''", message: id must be set}]}
  - name: label
    from: [check]
    output: {stream: LIVE_LABELLED}
    workers: {min: 2}
    enrich: {semantic: {}, trace: {}}
  - name: tag
    from: [label]
    output: {stream: LIVE_TAGGED}
    enrich: {semantic: {rules: [{id: tag, type: app.log, class: tagged, category: information}]}}
`

const liveCopy = `
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: copy, namespace: default}
spec:
  pipelineRef: {name: live}
  from: [label]
  output: {stream: LIVE_COPY}
  enrich: {semantic: {}}
`

// TestChangeUnderLoad changes a pipeline in every way while events flow, and counts every event in and out.
func TestChangeUnderLoad(t *testing.T) {
	together(t)
	c := newCluster(t)
	c.apply(livePipeline)
	ready := func() {
		t.Helper()
		harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "live") })
	}
	ready()
	type result struct {
		events int
		err    error
	}
	const rate, during = 3_000, 40 * time.Second
	published := make(chan result, 1)
	go func() {
		n, err := publishSteadily(t.Context(), c.js, "live.raw.load", rate, during)
		published <- result{n, err}
	}()
	began := time.Now()
	step := func(what string) { t.Logf("%5.1f s: %s", time.Since(began).Seconds(), what) }

	c.apply(liveCopy)
	harness.Eventually(t, 60*time.Second, func() error { return c.ready("stages.millrace.dev", "copy") })
	step("a stage was added")

	pods := c.podsOf(t, "check")
	rules := strings.Replace(livePipeline, "message: id must be set}]", "message: id must be set}, {expression: \"event.type != 'app.poison'\", message: poison}]", 1)
	c.apply(rules)
	poisoned := c.poison(t, "live.raw.poison", "LIVE_DEAD_LETTERS")
	if now := c.podsOf(t, "check"); !slices.Equal(now, pods) {
		t.Errorf("the workers were replaced for other rules: %v, before %v", now, pods)
	}
	step("rules were edited and taken up by the same workers")

	pods = c.podsOf(t, "label", "tag")
	c.apply(strings.Replace(rules, "    validate: {", "    workers: {drainTimeout: 20s}\n    validate: {", 1))
	ready()
	step("stage check was changed and rolled")
	if now := c.podsOf(t, "label", "tag"); !slices.Equal(now, pods) {
		t.Errorf("pods of other stages were replaced: %v, before %v", now, pods)
	}

	pods = c.podsOf(t, "label")
	c.run("kubectl", "annotate", "stage", "live-label", "millrace.dev/restart=1")
	harness.Eventually(t, 60*time.Second, func() error {
		for _, p := range c.podsOf(t, "label") {
			if slices.Contains(pods, p) {
				return fmt.Errorf("pod %s is still there", p)
			}
		}
		return c.ready("stages.millrace.dev", "live-label")
	})
	step("stage label was restarted")

	pods = c.podsOf(t, "check", "label", "tag", "copy")
	c.run("helm", "upgrade", "millrace", c.root+"/charts/millrace", "--namespace", "millrace-system", "--reuse-values",
		"--set", "image.tag=another", "--wait", "--timeout", "90s")
	harness.Eventually(t, 60*time.Second, func() error {
		out := c.run("kubectl", "get", "stage", "live-check", "-o", "jsonpath={.status.conditions[?(@.type=='WorkersAvailable')].message}")
		if !strings.Contains(out, "as an earlier release of the operator made them") {
			return fmt.Errorf("stage live-check says: %s", out)
		}
		return nil
	})
	if now := c.podsOf(t, "check", "label", "tag", "copy"); !slices.Equal(now, pods) {
		t.Errorf("workers were replaced with the operator: %v, before %v", now, pods)
	}
	step("the operator was upgraded, and no worker with it")

	before := c.identities(t, "LIVE_LABELLED", "live.label.>")
	c.run("kubectl", "delete", "stage", "copy", "--timeout", "60s")
	step("the added stage was deleted")

	r := <-published
	if r.err != nil {
		t.Fatal(r.err)
	}
	harness.Eventually(t, 120*time.Second, func() error { return drained(t.Context(), c.js, "LIVE_RAW", "default-live-check") })
	for lane := range 8 {
		for _, d := range [][2]string{{"LIVE_CHECKED", "label"}, {"LIVE_LABELLED", "tag"}} {
			harness.Eventually(t, 120*time.Second, func() error {
				return drained(t.Context(), c.js, d[0], fmt.Sprintf("default-live-%s_lane-%d", d[1], lane))
			})
		}
	}
	for stream, filter := range map[string]string{"LIVE_CHECKED": "live.check.>", "LIVE_LABELLED": "live.label.>", "LIVE_TAGGED": "live.tag.>"} {
		c.balance(t, stream, filter, r.events)
	}
	if n, err := c.stored(t.Context(), "LIVE_DEAD_LETTERS"); err != nil || n != uint64(poisoned) {
		t.Errorf("%d dead letters, want %d: what the new rule refused (%v)", n, poisoned, err)
	}
	copied := c.identities(t, "LIVE_COPY", "live.copy.>")
	missing, doubled := 0, 0
	for id := range before {
		if copied[id] == 0 {
			missing++
		}
	}
	for _, n := range copied {
		doubled += n - 1
	}
	t.Logf("ledger of the deleted stage: %d events were stored for it before it was deleted, %d of them lost, %d doubled, %d copied in all",
		len(before), missing, doubled, len(copied))
	if missing > 0 || doubled > 0 || len(before) == 0 {
		t.Errorf("the deleted stage lost %d events of %d, and doubled %d", missing, len(before), doubled)
	}
}

// poison waits until a metric of stage check says that other rules were taken up, and publishes events that
// they refuse. It returns how many.
func (c *cluster) poison(t *testing.T, subject, deadLetters string) (events int) {
	t.Helper()
	ip := c.run("kubectl", "get", "pods", "-l", "millrace.dev/stage=check", "-o", "jsonpath={.items[0].status.podIP}")
	harness.Eventually(t, 90*time.Second, func() error {
		if text := fetch(t, "http://"+ip+":8080/metrics"); !reloaded.MatchString(text) {
			return fmt.Errorf("no rules were taken up yet")
		}
		return nil
	})
	events = 3
	for i := range events {
		c.publish(subject, fmt.Appendf(nil, `{"id":"poison-%d","source":"/load","type":"app.poison","body":"x"}`, i))
	}
	harness.Eventually(t, 30*time.Second, func() error {
		n, err := c.stored(t.Context(), deadLetters)
		if err == nil && n < uint64(events) {
			err = fmt.Errorf("%d of %d refused events are in %s", n, events, deadLetters)
		}
		return err
	})
	return events
}

var reloaded = regexp.MustCompile(`millrace_worker_config_reloads_total{[^}]*result="applied"[^}]*} [1-9]`)

// fetch returns what a URL answers.
func fetch(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// podsOf are the UIDs of the pods of stages of pipeline live that are not ending.
func (c *cluster) podsOf(t *testing.T, stages ...string) []string {
	t.Helper()
	out := c.run("kubectl", "get", "pods", "-l", "millrace.dev/stage in ("+strings.Join(stages, ",")+")",
		"-o", `go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.uid}} {{end}}{{end}}`)
	pods := strings.Fields(out)
	slices.Sort(pods)
	return pods
}

// identities counts the events of a stream by id.
func (c *cluster) identities(t *testing.T, stream, filter string) map[string]int {
	t.Helper()
	ids := map[string]int{}
	for m := range c.messages(t, stream, filter) {
		for _, e := range frameEvents(t, m) {
			ids[e.GetId()]++
		}
	}
	return ids
}
