package joins

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/permissions"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
)

var (
	seeds    = flag.Int("seeds", 1, "how many trials")
	onlySeed = flag.Uint64("seed", 0, "this seed alone")
	events   = flag.Int("events", 10_000, "events of one trial")
	kills    = flag.Int("kills", 8, "workers that are killed in one trial")
)

// manifest is the pipeline: two branches, of which one ends nearly all events.
var manifest = filepath.Join("testdata", "fork.yaml")

// start starts the pipeline on a server whose users may do what `millrace nats-permissions` says, and no more.
func start(ctx context.Context, t *testing.T, binary string) *rig.Rig {
	t.Helper()
	printed, err := exec.CommandContext(ctx, binary, "nats-permissions", "-f", manifest).Output()
	if err != nil {
		t.Fatal(err)
	}
	var conf strings.Builder
	for _, user := range []string{userOf("check"), userOf("all"), userOf("few"), userOf("together"), "millrace-operator", "millrace-collector"} {
		fmt.Fprintf(&conf, "%s: secret\n", permissions.Variable(user, "password"))
	}
	conf.WriteString(strings.Replace(string(printed), "users = [\n", "users = [\n{user: admin, password: admin}\n", 1))
	dir := t.TempDir()
	r, err := rig.Start(ctx, rig.Options{
		Manifest: manifest, Dir: t.TempDir(), Binary: binary, NATS: natsserver.Options{User: "admin", Password: "admin", Config: conf.String()},
		Login: func(stage string) config.NATS {
			login := config.NATS{UserFile: filepath.Join(dir, stage+".user"), PasswordFile: filepath.Join(dir, stage+".password")}
			for file, content := range map[string]string{login.UserFile: userOf(stage), login.PasswordFile: "secret"} {
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return login
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var logs bytes.Buffer
			r.Logs(&logs, 3000)
			t.Log(logs.String())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func userOf(stage string) string { return "default.fork." + stage }

// TestEachBarrierEndsOnce: the deadline is longer than the test, so a barrier that waits for it is not there at the end.
func TestEachBarrierEndsOnce(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	for seed := uint64(1); seed <= uint64(*seeds); seed++ {
		if *onlySeed == 0 || *onlySeed == seed {
			t.Run(fmt.Sprint(seed), func(t *testing.T) { try(t, binary, seed) })
		}
	}
}

func try(t *testing.T, binary string, seed uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r := start(ctx, t, binary)
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	lot := rand.New(rand.NewPCG(seed, 22))
	done := make(chan error, 1)
	go func() { done <- befall(ctx, r, lot) }()
	publish(ctx, t, r)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	last := time.Now()
	account(ctx, t, r)
	log, err := os.ReadFile(r.Server().LogFile())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(log), "\n") {
		if strings.Contains(line, "Violation") {
			t.Errorf("a right is missing: %s", line)
		}
	}
	t.Logf("all barriers have ended %s after the last kill", time.Since(last).Round(time.Millisecond))
}

// publish publishes events over a while, one in a message and many.
func publish(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	for i := range *events {
		body := fmt.Sprintf(`{"id":"%d","source":"joins","type":"demo.joins","subject":"s%d","attributes":{"n":%d}}`, i, i%97, i)
		if _, err := r.JetStream().PublishAsync("default.fork.raw.x", []byte(body)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal(ctx.Err())
			}
		}
	}
	select {
	case <-r.JetStream().PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
}

// befall kills workers of any stage, and starts others in their place.
func befall(ctx context.Context, r *rig.Rig, lot *rand.Rand) error {
	stages := []string{"check", "all", "few", "together", "together"}
	for range *kills {
		select {
		case <-time.After(time.Duration(200+lot.IntN(1500)) * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		stage := stages[lot.IntN(len(stages))]
		for _, w := range r.Running(stage) {
			w.Kill9()
		}
		if _, err := r.StartWorker(stage); err != nil {
			return err
		}
	}
	return nil
}

// account waits until each event has come out, and holds what came out against what each branch had to say.
func account(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	var got map[string][]string
	for {
		if got = results(ctx, t, r); len(got) >= *events {
			break
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d of %d barriers have ended", len(got), *events)
		}
	}
	time.Sleep(time.Second) // for what would come twice
	got = results(ctx, t, r)
	wrong := 0
	for i := range *events {
		want := "silent answered=all silent=few"
		if i%50 == 0 {
			want = "complete answered=all,few silent="
		}
		if results := got[fmt.Sprint(i)]; len(results) != 1 || results[0] != want {
			if wrong++; wrong <= 10 {
				t.Errorf("event %d: %q, want %q", i, results, want)
			}
		}
	}
	if wrong > 0 || len(got) != *events {
		t.Errorf("%d of %d barriers ended in another way than they should, and there are results of %d keys", wrong, *events, len(got))
	}
}

// results are what has come out, by id.
func results(ctx context.Context, t *testing.T, r *rig.Rig) map[string][]string {
	t.Helper()
	out := r.Output("together", "out")
	stream, err := r.JetStream().Stream(ctx, out.Stream)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	left := stream.CachedInfo().State.Msgs
	if left == 0 {
		return got
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	d := decode.New(decode.Limits{})
	for ; left > 0; left-- {
		m, err := consumer.Next()
		if err != nil {
			t.Fatal(err)
		}
		d.Reset()
		events, _ := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		for i := range events {
			text := func(key string) string {
				v, _ := events[i].Attribute("join." + key)
				return strings.Clone(v.Text())
			}
			id := strings.Clone(events[i].ID)
			got[id] = append(got[id], text("result")+" answered="+text("answered")+" silent="+text("silent"))
		}
	}
	return got
}
