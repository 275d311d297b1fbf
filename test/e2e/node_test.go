package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

const replicatedPipeline = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: node, namespace: default}
spec:
  subjectPrefix: node
  partitions: 2
  streams: {replicas: 3, maxBytes: 64Mi}
  ingress: {stream: NODE_RAW}
  stages:
  - name: check
    from: [ingress]
    output: {stream: NODE_CHECKED}
    validate: {rules: [{expression: "event.id != ''", message: id must be set}]}
  - name: label
    from: [check]
    output: {stream: NODE_LABELLED}
    enrich: {semantic: {}}
`

// TestLoseANodeOfNATS kills one of three nats-servers while events flow, by the one that leads
// the ingress, and starts it again: the pipeline goes on, nothing is lost, and the streams have
// three current replicas at the end.
func TestLoseANodeOfNATS(t *testing.T) {
	together(t)
	c := newClusterOn(t, harness.StartNATSCluster(t, 3, natsserver.Options{}))
	c.apply(replicatedPipeline)
	harness.Eventually(t, 120*time.Second, func() error { return c.ready("pipelines.millrace.dev", "node") })

	const events, perMessage = 40_000, 50
	published := make(chan error, 1)
	go func() { published <- c.publishAll(t.Context(), "node.raw.load", events, perMessage) }()
	time.Sleep(time.Second)
	leader := c.leader(t, "NODE_RAW")
	before, err := c.stored(t.Context(), "NODE_LABELLED")
	if err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	leader.Kill9()
	harness.Eventually(t, 60*time.Second, func() error {
		n, err := c.stored(t.Context(), "NODE_LABELLED")
		if err == nil && n <= before+2 {
			err = fmt.Errorf("got %d messages of the last stage, %d when the node was lost", n, before)
		}
		return err
	})
	t.Logf("heal time, a NATS node of three killed: events flow again after %.1f s", time.Since(killed).Seconds())
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	for _, d := range []struct{ stream, name string }{
		{"NODE_RAW", "default-node-check"}, {"NODE_CHECKED", "default-node-label_lane-0"}, {"NODE_CHECKED", "default-node-label_lane-1"},
	} {
		harness.Eventually(t, 120*time.Second, func() error { return drained(t.Context(), c.js, d.stream, d.name) })
	}
	harness.Eventually(t, 60*time.Second, func() error { return c.ready("pipelines.millrace.dev", "node") })

	back := time.Now()
	if err := leader.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"NODE_RAW", "NODE_CHECKED", "NODE_LABELLED", "KV_default_node_node"} {
		harness.Eventually(t, 60*time.Second, func() error { return c.replicated(t.Context(), stream, 3) })
	}
	t.Logf("heal time, the node is back: all replicas current after %.1f s", time.Since(back).Seconds())
	for stream, filter := range map[string]string{"NODE_CHECKED": "node.check.>", "NODE_LABELLED": "node.label.>"} {
		c.balance(t, stream, filter, events)
	}
	harness.Eventually(t, 60*time.Second, func() error { return c.ready("pipelines.millrace.dev", "node") })
}

// publishAll is publishNumbered that publishes again, with the same ids, from a message that was
// not confirmed: one that was stored all the same is known to the server by its id.
func (c *cluster) publishAll(ctx context.Context, subject string, events, perMessage int) error {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := publishNumbered(ctx, c.js, subject, events, perMessage)
		if err == nil || time.Now().After(deadline) || errors.Is(ctx.Err(), context.Canceled) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// leader is the server that leads a stream.
func (c *cluster) leader(t *testing.T, stream string) *natsserver.Server {
	t.Helper()
	s, err := c.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range c.nats {
		if fmt.Sprintf("test-%d", server.Port()) == s.CachedInfo().Cluster.Leader {
			return server
		}
	}
	t.Fatalf("stream %s is led by %q, which is none of the servers", stream, s.CachedInfo().Cluster.Leader)
	return nil
}

// replicated fails the check until a stream has n current replicas.
func (c *cluster) replicated(ctx context.Context, stream string, n int) error {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	cluster := s.CachedInfo().Cluster
	if cluster == nil || cluster.Leader == "" {
		return jetstream.ErrNoStreamResponse
	}
	current := 1
	for _, peer := range cluster.Replicas {
		if peer.Current && !peer.Offline {
			current++
		}
	}
	if current != n {
		return fmt.Errorf("stream %s: got %d current replicas, want %d", stream, current, n)
	}
	return nil
}
