package run

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/test/harness"
)

const ledgerPipeline = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: shop}
spec:
  subjectPrefix: events
  partitions: 4
  deadLetters: {stream: DEAD_LETTERS}
  stages:
  - name: check
    from: [ingress]
    validate: {requiredAttributes: [subject], rules: [{expression: "event.type != 'order.placed'", message: no orders}]}
`

// publishDead publishes 10,000 events that die: 5,000 of rule_failed, of which the filter chooses 4,000, 3,000 of missing_attribute, 2,000 of undecodable.
func publishDead(t *testing.T, nc *nats.Conn) {
	t.Helper()
	for n := range 100 {
		var lines []string
		for k := range 100 {
			id := fmt.Sprintf("e%d", n*100+k)
			switch {
			case k < 40:
				lines = append(lines, `{"id":"`+id+`","source":"/s","type":"order.placed","subject":"chosen"}`)
			case k < 50:
				lines = append(lines, `{"id":"`+id+`","source":"/s","type":"order.placed","subject":"other"}`)
			case k < 80:
				lines = append(lines, `{"id":"`+id+`","source":"/s","type":"visit"}`)
			default:
				lines = append(lines, `{"id":`+id+`}`)
			}
		}
		m := &nats.Msg{Subject: "events.raw.shop", Data: []byte(strings.Join(lines, "\n")), Header: nats.Header{"Content-Type": {"application/x-ndjson"}}}
		harness.Eventually(t, 20*time.Second, func() error {
			_, err := nc.RequestMsg(m, time.Second)
			return err
		})
	}
}

// replayed counts the messages of the ingress by the dead letter that they are.
func replayed(t *testing.T, nc *nats.Conn) map[string]int {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.OrderedConsumer(t.Context(), "DEFAULT_SHOP_RAW", jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "DEFAULT_SHOP_RAW")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for seen := uint64(0); seen < s.CachedInfo().State.Msgs; {
		batch, err := c.Fetch(1000, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			seen++
			if id := m.Headers().Get(nats.MsgIdHdr); strings.HasPrefix(id, "dead-letter:") {
				all[id]++
			}
		}
		if seen == 0 {
			t.Fatal(batch.Error())
		}
	}
	return all
}

// TestReplayIsExactlyOnce: of 10,000 dead letters of three reasons a filter chooses 4,000, which a job publishes at a rate. Its process is killed -9 and
// started again. Each of them is in the ingress once, and none of the others is.
func TestReplayIsExactlyOnce(t *testing.T) {
	manifest := filepath.Join(t.TempDir(), "pipeline.yaml")
	if err := os.WriteFile(manifest, []byte(ledgerPipeline), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, nc, output := listeningTo(t, manifest)
	publishDead(t, nc)
	wantMessages(t, nc, "DEAD_LETTERS", 10_000)
	at := []string{"-f", manifest, "--nats-url", nc.ConnectedUrl()}
	choose := append([]string{"--reason", "rule_failed", "--filter", "event.subject == 'chosen'"}, at...)
	run := func(want int, into any, args ...string) result {
		t.Helper()
		got := millrace(t, "", args...)
		if got.code != want {
			t.Fatalf("%v: exit code %d\n%s%s", args, got.code, got.stdout, got.stderr)
		}
		if into != nil {
			if err := json.Unmarshal([]byte(got.stdout), into); err != nil {
				t.Fatalf("%v: %v in %s", args, err, got.stdout)
			}
		}
		return got
	}
	var job deadletter.Job
	run(0, &job, append([]string{"dlq", "replay", "--dry-run", "-o", "json"}, choose...)...)
	if job.Published != 4000 || len(replayed(t, nc)) != 0 {
		t.Fatalf("a dry run would publish %d, want 4000, and none is published yet", job.Published)
	}

	first := command(t, append([]string{"dlq", "replay", "--rate", "1000"}, choose...)...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 60*time.Second, func() error {
		if n := len(replayed(t, nc)); n < 1000 {
			return fmt.Errorf("%d are published", n)
		}
		return nil
	})
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	killedAt := len(replayed(t, nc))
	if killedAt >= 4000 {
		t.Fatal("the job was over before it was killed")
	}

	var jobs []deadletter.Job
	run(0, &jobs, append([]string{"dlq", "jobs", "-o", "json"}, at...)...)
	if len(jobs) != 1 || jobs[0].State != deadletter.StateRunning {
		t.Fatalf("got jobs %+v, want one that is running", jobs)
	}
	run(0, &job, append([]string{"dlq", "replay", "--resume", jobs[0].ID, "-o", "json"}, at...)...)
	t.Logf("killed after %d", killedAt)
	if job.State != deadletter.StateDone || job.Published != 4000 {
		t.Errorf("got %+v, want 4000 published", job)
	}
	once := replayed(t, nc)
	for id, n := range once {
		if n != 1 {
			t.Errorf("%s is in the ingress %d times", id, n)
		}
	}
	if len(once) != 4000 {
		t.Errorf("%d dead letters are in the ingress, want 4000", len(once))
	}
	wantMessages(t, nc, "DEAD_LETTERS", 14_000) // they die again

	// Those that died again are new ones, which nobody has published; all others are passed over.
	run(0, &job, append([]string{"dlq", "replay", "--until", time.Now().Add(-time.Millisecond).UTC().Format(time.RFC3339Nano), "--dry-run", "-o", "json"}, choose...)...)
	if job.Before != 4000 {
		t.Errorf("%d are passed over, want 4000", job.Before)
	}
	var page view.Letters
	run(0, &page, append([]string{"dlq", "ls", "-o", "json"}, at...)...)
	got := map[string][2]int{}
	for _, g := range page.Groups {
		got[g.Reason] = [2]int{g.Count, g.Replayed}
	}
	if want := "map[missing_attribute:[3000 0] rule_failed:[9000 4000] undecodable:[2000 0]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	purges(t, run, at, nc)
	interrupt(t, cmd, output)
}

// purges removes those that were published again, and asks for --yes before.
func purges(t *testing.T, run func(want int, into any, args ...string) result, at []string, nc *nats.Conn) {
	t.Helper()
	purge := append([]string{"dlq", "purge", "--replayed", "-o", "json"}, at...)
	if got := run(2, nil, purge...); !strings.Contains(got.stderr, "give --yes") {
		t.Errorf("without --yes: %s", got.stderr)
	}
	wantMessages(t, nc, "DEAD_LETTERS", 14_000)
	var p deadletter.Purged
	run(0, &p, append(purge, "--yes")...)
	if p.Removed != 4000 || p.Kept != 0 {
		t.Errorf("got %+v, want 4000 removed", p)
	}
	wantMessages(t, nc, "DEAD_LETTERS", 10_000)
	run(0, &p, append([]string{"dlq", "purge", "--yes", "-o", "json"}, at...)...)
	if p.Kept < 1 || p.Removed+p.Kept != 10_000 {
		t.Errorf("got %+v, want all but those of the last step", p)
	}
}
