package operator_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/replay"
)

// again runs `millrace replay`.
func (x *tenant) again(args ...string) (out, about string, err error) {
	x.t.Helper()
	cmd := replay.Command()
	var data, notices bytes.Buffer
	cmd.SetOut(&data)
	cmd.SetErr(&notices)
	cmd.SetArgs(append(args, "-n", x.ns, "--kubeconfig", x.plane.Kubeconfig(), "--nats-url", x.nats.URL()))
	err = cmd.ExecuteContext(x.t.Context())
	return data.String(), notices.String(), err
}

// TestReplayFromATime: the command says how much it would read, and makes a Stage whose consumer begins there, also when somebody deletes
// that; the Stage goes at once when it is deleted, whatever it has not read.
func TestReplayFromATime(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	x.publish(3)
	time.Sleep(2 * time.Second) // times are whole seconds
	from := time.Now().UTC().Truncate(time.Second)
	x.publish(5)

	at := from.Format(time.RFC3339)
	out, about, err := x.again(p.Name+"/validate", "--from", at, "--dry-run", "--name", "second")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("would read 5 messages of ingress, stream %s", x.stream("raw")); !strings.Contains(about, want) {
		t.Errorf("the dry run says %q, want %q", about, want)
	}
	var s v1alpha1.Stage
	if err := yaml.UnmarshalStrict([]byte(out), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if s.Name != "second" || s.Spec.StartTime == nil || !s.Spec.StartTime.Time.Equal(from) || s.Spec.Validate == nil {
		t.Errorf("the dry run prints\n%s", out)
	}
	for name, args := range map[string][]string{
		"is in the future":   {p.Name + "/validate", "--from", "2999-01-01T00:00:00Z"},
		"is not later than":  {p.Name + "/validate", "--from", at, "--to", at},
		`stage "nobody" of`:  {p.Name + "/nobody", "--from", "1h"},
		"needs --from":       {p.Name + "/validate"},
		"want PIPELINE/STAG": {p.Name, "--from", "1h"},
	} {
		if _, _, err := x.again(args...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: got %v, want %q", args, err, name)
		}
	}

	if _, _, err := x.again(p.Name+"/validate", "--from", at, "--name", "second"); err != nil {
		t.Fatal(err)
	}
	second := x.stage("second")
	x.ready(second)
	if _, _, err := x.again(p.Name+"/validate", "--from", at, "--name", "second"); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a second replay of the same name: %v", err)
	}
	begins := func() error {
		c := x.consumer(x.stream("raw"), x.durable("second"))
		if c == nil || c.Config.DeliverPolicy != natsjs.DeliverByStartTimePolicy || c.Config.OptStartTime == nil || !c.Config.OptStartTime.Equal(from) || c.NumPending != 5 {
			return fmt.Errorf("the consumer is %+v, want one that begins at %s with 5 messages", c, at)
		}
		return nil
	}
	if err := begins(); err != nil {
		t.Error(err)
	}
	x.event("second", v1alpha1.ReasonReadsFromStart, "the first event stored from "+at+" on of stream "+x.stream("raw")+": it will read about 5 events")
	if err := x.js.DeleteConsumer(t.Context(), x.stream("raw"), x.durable("second")); err != nil {
		t.Fatal(err)
	}
	x.eventually(begins)

	x.delete(second)
	x.gone(second)
	if x.consumer(x.stream("raw"), x.durable("second")) != nil {
		t.Error("the consumer of the replay is still there")
	}
	x.ready(p)
}
