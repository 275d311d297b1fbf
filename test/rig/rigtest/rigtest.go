package rigtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/permissions"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// tail is how much of each log is shown when a test fails, in bytes.
const tail = 3000

// Start starts a rig that is closed when the test ends. The logs of a test that fails are shown.
func Start(ctx context.Context, t testing.TB, o rig.Options) *rig.Rig {
	t.Helper()
	r, err := rig.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var logs bytes.Buffer
			r.Logs(&logs, tail)
			t.Log(logs.String())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// variable is the variable that stands for a password.
var variable = regexp.MustCompile(`password: \$(\w+)`)

// StartRestricted starts the pipeline of o.Manifest on a server where each worker may do what `millrace nats-permissions` prints for it, and
// no more. pipeline is its <namespace>.<name>.
func StartRestricted(ctx context.Context, t testing.TB, pipeline string, o rig.Options) *rig.Rig {
	t.Helper()
	o.NATS = natsserver.Options{User: "admin", Password: "admin", Config: Users(ctx, t, o.Binary, o.Manifest)}
	o.Login = Login(t, pipeline)
	return Start(ctx, t, o)
}

// Users are the users that `millrace nats-permissions` prints for a manifest, as the config of a server, and an admin, who may do everything.
func Users(ctx context.Context, t testing.TB, binary, manifest string, args ...string) string {
	t.Helper()
	printed, err := exec.CommandContext(ctx, binary, append([]string{"nats-permissions", "-f", manifest}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	// The variables are set in the same file, as a server may have them in its environment.
	var conf strings.Builder
	for _, found := range variable.FindAllSubmatch(printed, -1) {
		fmt.Fprintf(&conf, "%s: %s\n", found[1], passwordOf(string(found[1])))
	}
	conf.WriteString(strings.Replace(string(printed), "users = [\n", "users = [\n{user: admin, password: admin}\n", 1))
	return conf.String()
}

// Login has the worker of each stage of a pipeline log in as the user that is printed for it.
func Login(t testing.TB, pipeline string) func(stage string) config.NATS {
	t.Helper()
	dir := t.TempDir()
	return func(stage string) config.NATS {
		user := pipeline + "." + stage
		login := config.NATS{UserFile: filepath.Join(dir, stage+".user"), PasswordFile: filepath.Join(dir, stage+".password")}
		for file, content := range map[string]string{login.UserFile: user, login.PasswordFile: Password(user)} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return login
	}
}

// Password is that of one of Users: another one for each.
func Password(user string) string { return passwordOf(permissions.Variable(user, "password")) }

// passwordOf is the password that stands in a variable.
func passwordOf(variable string) string { return "of-" + variable }

// CheckRights fails the test when the log of a server says that a right is missing.
func CheckRights(t testing.TB, server *natsserver.Server) {
	t.Helper()
	log, err := os.ReadFile(server.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(log), "\n") {
		if strings.Contains(line, "Violation") {
			t.Errorf("a right is missing: %s", line)
		}
	}
}

// Stored visits all events that are stored now on the subjects of a stream that match filter, in their order. The memory of an event is used again
// after its visit.
func Stored(ctx context.Context, t testing.TB, r *rig.Rig, stream, filter string, visit func(jetstream.Msg, *event.Event)) {
	t.Helper()
	d := decode.New(decode.Limits{Hints: true})
	messages(ctx, t, r, stream, filter, func(m jetstream.Msg) {
		d.Reset()
		events, bad := d.Decode(nil, decode.Message{Header: map[string][]string(m.Headers()), Data: m.Data()})
		if len(bad) > 0 {
			t.Fatalf("read %s: %v", stream, bad[0].Err)
		}
		for i := range events {
			visit(m, &events[i])
		}
	})
}

// Letters visits all dead letters in a stream. What they hold may be no event.
func Letters(ctx context.Context, t testing.TB, r *rig.Rig, stream string, visit func(jetstream.Msg)) {
	t.Helper()
	messages(ctx, t, r, stream, ">", visit)
}

func messages(ctx context.Context, t testing.TB, r *rig.Rig, stream, filter string, visit func(jetstream.Msg)) {
	t.Helper()
	consumer, err := r.JetStream().OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.NumPending == 0 {
		return
	}
	all, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer all.Stop()
	for range info.NumPending {
		m, err := all.Next(jetstream.NextMaxWait(10 * time.Second))
		if err != nil {
			t.Fatalf("read %s: %v", stream, err)
		}
		visit(m)
	}
}
