package rig_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/process"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/config"
)

const sample = "../../config/samples/observability.yaml"

// restricted is the sample on a server with these users.
func restricted(ctx context.Context, t *testing.T) *rig.Rig {
	t.Helper()
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	return startRig(ctx, t, rig.Options{
		Binary: binary, NATS: natsserver.Options{User: "admin", Password: "admin", Config: rigtest.Users(ctx, t, binary, sample)},
	})
}

// domain of the JetStream of restrictedLeaf.
const domain = "far"

// restrictedLeaf is the sample on a hub with its JetStream in a domain. Its workers connect to a leaf node without
// JetStream, which has these users.
func restrictedLeaf(ctx context.Context, t *testing.T) (*rig.Rig, *natsserver.Server) {
	t.Helper()
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	leaf := harness.StartNATS(t, natsserver.Options{
		NoJetStream: true, User: "admin", Password: "admin",
		Config: fmt.Sprintf("leafnodes {remotes: [{url: \"nats://127.0.0.1:%d\"}]}\n", port) + rigtest.Users(ctx, t, binary, sample, "--nats-jetstream-domain", domain),
	})
	r := startRig(ctx, t, rig.Options{
		Binary: binary, NATS: natsserver.Options{Domain: domain, Config: fmt.Sprintf(
			"leafnodes {listen: \"127.0.0.1:%d\"}\nfeature_flags {js_ack_fc_v2: true}", port)}, // acknowledgements name the domain
		Change: func(p *v1alpha1.Pipeline) { p.Spec.NATS = &v1alpha1.NATSSpec{URL: leaf.URL(), JetStreamDomain: domain} },
	})
	conn, err := leaf.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	harness.Eventually(t, 10*time.Second, func() error { // the leaf node was there before the hub
		_, err := conn.Request(config.Domain(domain).API("INFO"), nil, time.Second)
		return err
	})
	return r, leaf
}

func startRig(ctx context.Context, t *testing.T, o rig.Options) *rig.Rig {
	t.Helper()
	o.Manifest, o.Dir, o.Login = sample, t.TempDir(), rigtest.Login(t, "default.observability")
	return rigtest.Start(ctx, t, o)
}

func userOf(stage string) string { return "default.observability." + stage }

// TestPermissionsAreEnough runs the sample with a user for each stage, kills every worker
// once, so that others take over and rebuild, and finds every event stored once by each stage.
func TestPermissionsAreEnough(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := restricted(ctx, t)
	wantEnough(ctx, t, r, r.Server())
}

// TestPermissionsAreEnoughInADomain does the same with workers that reach the JetStream of a hub through a leaf node.
func TestPermissionsAreEnoughInADomain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, leaf := restrictedLeaf(ctx, t)
	wantEnough(ctx, t, r, leaf)
}

// wantEnough runs the pipeline of r, whose workers are users of server.
func wantEnough(ctx context.Context, t *testing.T, r *rig.Rig, server *natsserver.Server) {
	t.Helper()
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, r, 0, 500)
	if _, err := r.JetStream().Publish(ctx, "events.raw.rig", []byte("no event {")); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitDrained(ctx); err != nil {
		t.Fatal(err)
	}
	for _, w := range r.Running("") {
		w.Kill9()
		again, err := r.StartWorker(w.Stage())
		if err != nil {
			t.Fatal(err)
		}
		if err := again.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
	}
	publish(ctx, t, r, 500, 1000)
	if err := r.WaitDrained(ctx); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"VALIDATED_EVENTS", "ENRICHED_EVENTS"} {
		seen := stored(ctx, t, r, stream)
		lost, doubled := 0, 0
		for i := range 1000 {
			switch n := seen[fmt.Sprint(i)]; {
			case n == 0:
				lost++
			case n > 1:
				doubled++
			}
		}
		t.Logf("%s: lost %d, doubled %d", stream, lost, doubled)
		if lost+doubled > 0 {
			t.Errorf("%s: lost %d, doubled %d, want 0 and 0", stream, lost, doubled)
		}
	}
	rigtest.CheckRights(t, server)
}

// stored counts the events of a stream by their ids.
func stored(ctx context.Context, t *testing.T, r *rig.Rig, stream string) map[string]int {
	t.Helper()
	s, err := r.JetStream().Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		body, err := s2.Decode(nil, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		var frame eventv1.Frame
		if err := proto.Unmarshal(body, &frame); err != nil {
			t.Fatal(err)
		}
		for _, e := range frame.GetEvents() {
			seen[e.GetId()]++
		}
		for _, e := range frame.GetEntries() {
			seen[e.GetEvent().GetId()]++
		}
	}
	return seen
}

// TestPermissionsAreFew: what is another stage's, or the operator's, is denied.
func TestPermissionsAreFew(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := restricted(ctx, t)
	publish(ctx, t, r, 0, 1)
	inbox := r.Stage("enrich").Config.InboxPrefix()
	for name, c := range map[string]struct {
		user, publish, subscribe string
		allowed                  bool
	}{
		"its own input":                {user: "enrich", publish: "$JS.API.CONSUMER.INFO.VALIDATED_EVENTS.default-observability-enrich_lane-0", allowed: true},
		"its own inbox":                {user: "enrich", subscribe: inbox + ".>", allowed: true},
		"events as they pass":          {user: "enrich", subscribe: "events.raw.>"},
		"events of everybody":          {user: "enrich", subscribe: ">"},
		"the inbox of another stage":   {user: "enrich", subscribe: r.Stage("validate").Config.InboxPrefix() + ".>"},
		"the default inbox":            {user: "enrich", subscribe: "_INBOX.>"},
		"a message of another stream":  {user: "enrich", publish: "$JS.API.STREAM.MSG.GET.RAW_EVENTS"},
		"a direct get of another":      {user: "enrich", publish: "$JS.API.DIRECT.GET.RAW_EVENTS"},
		"the consumer of another":      {user: "enrich", publish: "$JS.API.CONSUMER.MSG.NEXT.RAW_EVENTS.default-observability-validate"},
		"a consumer on its own input":  {user: "analyze", publish: "$JS.API.CONSUMER.MSG.NEXT.ENRICHED_EVENTS.default-observability-correlate"},
		"acknowledging for another":    {user: "enrich", publish: "$JS.ACK.RAW_EVENTS.default-observability-validate.1.1.1.1.1"},
		"a consumer of its own making": {user: "enrich", publish: "$JS.API.CONSUMER.CREATE.RAW_EVENTS.mine"},
		"publishing as a collector":    {user: "enrich", publish: "events.raw.x"},
		"publishing as another stage":  {user: "enrich", publish: "events.validated.0"},
		"insights of another stage":    {user: "analyze", publish: "insights.correlate.error.0"},
		"dead letters of another":      {user: "analyze", publish: "events.dead-letter.validate.0"},
		"the leases of another":        {user: "enrich", publish: "$KV.default_observability_events.validate"},
		"its own snapshots":            {user: "analyze", publish: "$KV.STATE_default_observability_events.analyze.0", allowed: true},
		"the snapshots of another":     {user: "analyze", publish: "$KV.STATE_default_observability_events.correlate.0"},
		"snapshots of whoever":         {user: "enrich", publish: "$JS.API.STREAM.MSG.GET.KV_STATE_default_observability_events"},
		"a key beside its own lease":   {user: "enrich", publish: "$KV.default_observability_events.enrich.config.0"},
		"deleting a stream":            {user: "enrich", publish: "$JS.API.STREAM.DELETE.ENRICHED_EVENTS"},
		"purging a stream":             {user: "enrich", publish: "$JS.API.STREAM.PURGE.ENRICHED_EVENTS"},
		"listing streams":              {user: "enrich", publish: "$JS.API.STREAM.LIST"},
	} {
		t.Run(name, func(t *testing.T) {
			denied := tryAs(t, r, c.user, c.publish, c.subscribe)
			if denied == c.allowed {
				t.Errorf("denied: %t, want %t", denied, !c.allowed)
			}
		})
	}
	for _, stream := range []string{"RAW_EVENTS", "VALIDATED_EVENTS", "INSIGHTS"} {
		s, err := r.JetStream().Stream(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.CachedInfo().State.Msgs, map[string]uint64{"RAW_EVENTS": 1}[stream]; got != want {
			t.Errorf("%s holds %d messages, want %d: what is denied was stored", stream, got, want)
		}
	}
	// TestPermissionsAreEnough looks for these lines.
	log, err := os.ReadFile(r.Server().LogFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Publish Violation", "Subscription Violation"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the log of the server has no line about a %s", want)
		}
	}
}

// tryAs publishes or subscribes as the user of a stage, and tells whether the server denied it.
func tryAs(t *testing.T, r *rig.Rig, stage, publish, subscribe string) bool {
	t.Helper()
	return deniedTo(t, r, userOf(stage), publish, subscribe)
}

// deniedTo says whether the server denies a user to publish, or to subscribe.
func deniedTo(t *testing.T, r *rig.Rig, user, publish, subscribe string) bool {
	t.Helper()
	problems := make(chan error, 8)
	conn, err := nats.Connect(r.URL(), nats.UserInfo(user, rigtest.Password(user)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { problems <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if subscribe != "" {
		_, err = conn.SubscribeSync(subscribe)
	} else {
		err = conn.Publish(publish, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	// The answer to the ping comes behind the refusal.
	if err := conn.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-problems:
		if !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Fatalf("got %v, want a permissions violation or nothing", err)
		}
		return true
	case <-time.After(200 * time.Millisecond):
		return false
	}
}

// TestCollectorPermissions: a collector keeps its checkpoint and publishes on its subject alone.
func TestCollectorPermissions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := restricted(ctx, t)
	wantCollects(ctx, t, r.URL(), "")
}

// TestCollectorPermissionsInADomain: it does so through a leaf node, too.
func TestCollectorPermissionsInADomain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, leaf := restrictedLeaf(ctx, t)
	wantCollects(ctx, t, leaf.URL(), domain)
}

// wantCollects does what a collector does, as its user.
func wantCollects(ctx context.Context, t *testing.T, url string, d config.Domain) {
	t.Helper()
	conn, err := nats.Connect(url, nats.UserInfo("millrace-collector", rigtest.Password("millrace-collector")),
		nats.CustomInboxPrefix(config.CollectorInbox("kubernetes")), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.NewWithAPIPrefix(conn, d.API(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "events.raw.kubernetes", []byte("x")); err != nil {
		t.Error(err)
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: config.CollectorBucket})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, "head", "x"); err != nil {
		t.Error(err)
	}
	if got, err := kv.Get(ctx, "head"); err != nil || !slices.Equal(got.Value(), []byte("x")) {
		t.Errorf("got %v, %v", got, err)
	}
	short, cancelShort := context.WithTimeout(ctx, time.Second)
	defer cancelShort()
	if _, err := js.Publish(short, "events.raw.other", []byte("x")); err == nil {
		t.Error("the collector may publish on a subject that is not its own")
	}
}
