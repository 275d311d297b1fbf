package diff_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/diff"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// shop is a manifest of two stages, with places where a test changes it.
const shop = `apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: shop}
spec:
  streams: {maxAge: 24h, maxBytes: 64Mi}
  stages:
  - {name: check, from: [ingress], validate: {}}
  - {name: enrich, from: [check], enrich: {semantic: {}}}
`

// write writes a manifest that differs from shop.
func write(t *testing.T, replace ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.yaml")
	text := strings.NewReplacer(replace...).Replace(shop)
	if len(replace) > 0 && text == shop {
		t.Fatalf("%q changes nothing", replace)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs `millrace diff`. It returns the exit code.
func run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	return runAt(t, time.Now, args...)
}

func runAt(t *testing.T, now func() time.Time, args ...string) (out string, code int) {
	t.Helper()
	var b bytes.Buffer
	cmd := diff.CommandAt(now)
	cmd.SetArgs(args)
	cmd.SetOut(&b)
	err := cmd.ExecuteContext(t.Context())
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return b.String(), 0
	case errors.As(err, &coded):
		return b.String() + err.Error(), coded.ExitCode()
	}
	t.Fatalf("%v: an error without a code: %v", args, err)
	return "", 0
}

// TestAgainstNATS: a pipeline is applied to a real server with the operator's own requests, and a changed manifest is compared.
func TestAgainstNATS(t *testing.T) {
	server := harness.StartNATS(t, natsserver.Options{})
	pool := jetstream.NewPool(jetstream.PoolOptions{Patience: 10 * time.Second, RequestTimeout: 10 * time.Second})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	same := write(t)
	check := func(name, file string, code int, want ...string) {
		t.Helper()
		out, got := run(t, "-f", file, "--nats-url", server.URL())
		if got != code {
			t.Errorf("%s: exit code %d, want %d:\n%s", name, got, code, out)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: %q is missing:\n%s", name, w, out)
			}
		}
	}

	check("nothing is there", same, 1, "+ stream DEFAULT_SHOP_RAW: create", "+ bucket KV_default_shop: create", "+ consumer default-shop-check of stage check: create", "0 unchanged")
	apply(t, client, same)
	check("no change", same, 0, "no changes", "unchanged", "workers are not compared")

	for i := range 7 {
		if _, _, err := client.Publish(t.Context(), &jetstream.Message{Subject: "default.shop.raw.x", ID: fmt.Sprint(i), Data: []byte(`{"id":"1"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	later := func() time.Time { return time.Now().Add(2 * time.Hour) }
	out, code := runAt(t, later, "-f", write(t, "24h", "1h"), "--nats-url", server.URL())
	for _, want := range []string{"~ stream DEFAULT_SHOP_RAW: change", "max_age: 24h0m0s -> 1h", "DATA IS DROPPED: 7 messages stored more than 1h0m0s ago are removed at once"} {
		if !strings.Contains(out, want) || code != 1 {
			t.Errorf("less data: %q is missing, or the exit code is wrong: %d\n%s", want, code, out)
		}
	}
	check("more room", write(t, "64Mi", "128Mi"), 1, "max_bytes: 67108864 -> 134217728")
	check("another storage", write(t, "{maxAge", "{storage: Memory, maxAge"), 1,
		"The operator refuses the edit", "! stream DEFAULT_SHOP_RAW: refused", "storage: File -> Memory", "give the stream another name")
	check("a new stage", write(t, "semantic: {}}}\n", "semantic: {}}}\n  - {name: more, from: [ingress], enrich: {semantic: {}}}\n"), 1,
		"+ stream DEFAULT_SHOP_MORE: create", "+ consumer default-shop-more of stage more: create")
	check("a removed stage", write(t, "  - {name: check, from: [ingress], validate: {}}\n", "", "from: [check]", "from: [ingress]", "name: enrich", "name: other"), 1,
		"- consumer default-shop-check of stage check: drain", "about 7 events of stream DEFAULT_SHOP_RAW wait for it",
		"= stream DEFAULT_SHOP_CHECK: keep", "nothing waits for it")
	check("other lanes", write(t, "from: [check]", "from: [ingress]"), 1,
		"! stage enrich: refused", "lanes: 8 -> 1", "name the stage otherwise")
	check("a manifest with a mistake", write(t, "from: [check]", "from: [absent]"), 3, "from names a stage that the pipeline does not have")

	out, _ = run(t, "-f", write(t, "64Mi", "128Mi"), "--nats-url", server.URL(), "-o", "json")
	var r diff.Result
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &r); err != nil || r.Pipeline != "default/shop" || len(r.Items) == 0 || r.Items[0].Action != diff.Change {
		t.Errorf("%v: %s", err, out)
	}
	if _, code := run(t, "--nats-url", server.URL()); code != 2 {
		t.Errorf("without a file: exit code %d", code)
	}
	server.Stop()
	if out, code := run(t, "-f", same, "--nats-url", server.URL()); code != 3 {
		t.Errorf("a server that is away: exit code %d: %s", code, out)
	}
}

// apply does what the operator does.
func apply(t *testing.T, client *jetstream.Client, file string) {
	t.Helper()
	plans, err := manifest.Plans(t.Context(), nil, []string{file}, "")
	if err != nil {
		t.Fatal(err)
	}
	p := plans[0]
	owner := jetstream.Owner{UID: "u", Pipeline: "default/shop"}
	changes := []jetstream.StreamChange{jetstream.CompareLeases(p.Leases, owner, nil)}
	if p.States.Bucket != "" {
		changes = append(changes, jetstream.CompareStates(p.States, owner, nil))
	}
	for _, s := range p.Streams {
		changes = append(changes, jetstream.CompareStream(s, owner, nil))
	}
	for _, c := range changes {
		if _, err := client.CreateStream(c.Config); err != nil {
			t.Fatal(err)
		}
	}
	for i := range p.Stages {
		owner.Stage = p.Stages[i].Name
		for _, c := range p.Stages[i].Consumers {
			if _, err := client.ApplyConsumer(c.Stream, jetstream.ConsumerConfig(c, owner)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
