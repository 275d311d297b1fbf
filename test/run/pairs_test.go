package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPairsOfInputsWithOtherKeys: the senders of requests and of replies give these different partition keys. A stage before the join gives the replies
// the keys of the requests, and every pair is found, over eight partitions.
func TestPairsOfInputsWithOtherKeys(t *testing.T) {
	const n = 100
	var input strings.Builder
	for i := range n {
		fmt.Fprintf(&input, `{"id":"q%d","source":"client","type":"ask","subject":"call-%d"}`+"\n", i, i)
		fmt.Fprintf(&input, `{"id":"r%d","source":"server","type":"reply","subject":"host-%d","attributes":{"call":"call-%d"}}`+"\n", i, i%3, i)
	}
	dir := t.TempDir()
	pipeline := filepath.Join(dir, "pipeline.yaml")
	if err := os.WriteFile(pipeline, []byte(`apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: calls}
spec:
  partitions: 8
  stages:
  - name: kinds
    from: [ingress]
    route: {rules: [{port: asks, expression: "event.type == 'ask'"}, {port: replies, expression: "event.type == 'reply'"}], default: Drop}
  - name: rekeyed
    from: [kinds/replies]
    transform: {key: "event.attributes['call']"}
  - name: calls
    from: [kinds/asks, rekeyed]
    join:
      key: "event.type == 'ask' ? event.subject : event.attributes['call']"
      pairs: {first: "event.type == 'ask'", second: "event.type == 'reply'"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out.ndjson")
	got := millrace(t, input.String(), "run", "-f", pipeline, "--input", "-", "--until-drained", "--output", "calls="+out)
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	results := map[any]int{}
	for _, e := range lines(t, out) {
		results[e["data"].(map[string]any)["attributes"].(map[string]any)["join.result"]]++
	}
	if len(results) != 1 || results["complete"] != n {
		t.Errorf("results: %v, want %d that are complete", results, n)
	}
}
