//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/event/cloudevent"
)

// told is an insight as a person or a pager reads it from the stream.
type told struct {
	id                     string
	severity               int
	title, summary, status string
	// namespaces of what it is about: its root cause, and what is affected.
	namespaces []string
	at         time.Time // when the stream stored it
	document   string
}

// resolved says that the insight is over.
func (i *told) resolved() bool { return i.status == "closed" || i.status == "resolved" }

func (i *told) String() string { return i.at.Format("15:04:05.0") + " " + i.document }

// insights are all that the pipeline has told so far, the oldest first.
func (c *cluster) insights(t *testing.T) []*told {
	t.Helper()
	var result []*told
	for m := range c.messages(t, "INSIGHTS", "insights.>") {
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		one, err := readInsight(m.Data())
		if err != nil {
			t.Fatalf("insight %d: %v\n%s", meta.Sequence.Stream, err, m.Data())
		}
		one.at = meta.Timestamp
		result = append(result, one)
	}
	return result
}

func readInsight(data []byte) (*told, error) {
	type ref struct{ Namespace string }
	var e struct {
		ID             string
		SeverityNumber int
		Data           struct {
			Entity  ref
			Insight struct {
				Title, Summary, Status string
				RootCause              ref
				Affected               []ref
			}
		}
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, err
	}
	if e.ID == "" || e.SeverityNumber == 0 {
		return nil, fmt.Errorf("no id or no severity")
	}
	in := e.Data.Insight
	one := &told{id: e.ID, severity: e.SeverityNumber, title: in.Title, summary: in.Summary, status: in.Status}
	for _, r := range append(in.Affected, in.RootCause, e.Data.Entity) {
		if r.Namespace != "" && !slices.Contains(one.namespaces, r.Namespace) {
			one.namespaces = append(one.namespaces, r.Namespace)
		}
	}
	var whole bytes.Buffer
	if err := json.Indent(&whole, data, "", "  "); err != nil {
		return nil, err
	}
	one.document = whole.String()
	return one, nil
}

// TestReadInsight: what the tests read is what the product writes.
func TestReadInsight(t *testing.T) {
	data := cloudevent.AppendProto(nil, &eventv1.Event{
		Id: "i", Source: "/stages/correlate", Type: "millrace.insight", SeverityNumber: 17,
		Entity: &eventv1.EntityRef{Kind: "Deployment", Namespace: "shop", Name: "web"},
		Signal: &eventv1.Event_Insight{Insight: &eventv1.Insight{
			Title: "web crash-loops", Summary: "no cause was seen", Status: "closed",
			RootCause: &eventv1.EntityRef{Kind: "Deployment", Namespace: "shop", Name: "web"},
			Affected:  []*eventv1.EntityRef{{Kind: "Pod", Namespace: "bank", Name: "cart-0"}},
		}},
	})
	got, err := readInsight(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.id != "i" || got.severity != 17 || got.title != "web crash-loops" || got.summary != "no cause was seen" || !got.resolved() {
		t.Errorf("got %+v", got)
	}
	if want := []string{"bank", "shop"}; !slices.Equal(got.namespaces, want) {
		t.Errorf("namespaces: got %v, want %v", got.namespaces, want)
	}
}

// watchedCluster has two nodes, the collector of Kubernetes and the six-stream sample, which is ready.
func watchedCluster(t *testing.T) *cluster {
	t.Helper()
	c := startCluster(t, setup{
		servers: []*natsserver.Server{harness.StartNATS(t, natsserver.Options{})}, nodes: 2,
		values: []string{"collectors.kubernetes.enabled=true", "operator.replicas=2"},
	})
	c.run("kubectl", "apply", "-f", c.root+"/config/samples/observability.yaml")
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "observability") })
	return c
}

// seenTypes counts the events of each type that reached the stages behind enrich.
func (c *cluster) seenTypes(t *testing.T) map[string]int {
	t.Helper()
	types := map[string]int{}
	for m := range c.messages(t, "ENRICHED_EVENTS", "events.enriched.>") {
		for _, e := range frameEvents(t, m) {
			types[e.GetType()]++
		}
	}
	return types
}

// seenOf are the events about a namespace that reached the stages behind enrich, one a line.
func (c *cluster) seenOf(t *testing.T, namespace string) string {
	t.Helper()
	var lines []string
	for m := range c.messages(t, "ENRICHED_EVENTS", "events.enriched.>") {
		for _, e := range frameEvents(t, m) {
			if e.GetEntity().GetNamespace() == namespace {
				lines = append(lines, fmt.Sprintf("%s %s %s %s %s: %s", time.Unix(0, int64(e.GetTimeUnixNano())).UTC().Format("15:04:05.000"),
					e.GetType(), e.GetEntity().GetName(), e.GetId(), e.GetSeverityText(), e.GetBody()))
			}
		}
	}
	slices.Sort(lines)
	return "\n" + strings.Join(lines, "\n")
}
