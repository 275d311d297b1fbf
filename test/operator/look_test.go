package operator_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/cli"
)

// TestPipelinesAreFoundInTheCluster: commands that show pipelines find them by the kubeconfig, with the Stages that are attached, and are refused
// those that do not exist.
func TestPipelinesAreFoundInTheCluster(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	m := nats.NewMsg(x.ns + ".obs.dead-letter.validate.0")
	m.Header.Set("Millrace-Stage", "validate")
	m.Header.Set("Millrace-Reason", "rule_failed")
	m.Data = []byte(`{"id":"42","source":"/s","type":"t"}`)
	if _, err := x.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	alone := func(cmd *cobra.Command, args ...string) (string, error) {
		t.Helper()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(new(bytes.Buffer))
		cmd.SetArgs(append(args, "--nats-url", x.nats.URL(), "-o", "json"))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	run := func(cmd *cobra.Command, args ...string) (string, error) {
		return alone(cmd, append(args, "--kubeconfig", x.plane.Kubeconfig())...)
	}
	out, err := run(deadletter.Command(), "ls", p.Name+"/validate", "-n", x.ns)
	var page view.Letters
	if err == nil {
		err = json.Unmarshal([]byte(out), &page)
	}
	if err != nil || len(page.Letters) != 1 || page.Letters[0].EventID != "42" {
		t.Errorf("dlq ls: %v, %s", err, out)
	}
	if out, err := run(cli.TapCommand(), p.Name+"/validate/dead-letter", "-n", x.ns, "--since", "1h", "--no-follow"); err != nil || !strings.Contains(out, `"id":"42"`) {
		t.Errorf("tap: %v, %s", err, out)
	}
	if out, err := alone(deadletter.Command(), "ls", p.Name+"/validate", "-n", x.ns); err != nil || !strings.Contains(out, `"eventId": "42"`) && !strings.Contains(out, `"eventId":"42"`) {
		t.Errorf("dlq ls with the server alone: %v, %s", err, out)
	}
	if out, err := alone(deadletter.Command(), "ls", "nobody", "-n", x.ns); err == nil || !strings.Contains(err.Error(), "no stream of the server records it") {
		t.Errorf("dlq ls of no pipeline with the server alone: %v, %s", err, out)
	}
	for name, args := range map[string][]string{
		"pipeline nobody": {"ls", "nobody", "-n", x.ns}, "stage \"nobody\"": {"ls", p.Name + "/nobody", "-n", x.ns},
	} {
		if _, err := run(deadletter.Command(), args...); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), x.ns+"/", ""), name) {
			t.Errorf("%v: got %v, want %s not found", args, err, name)
		}
	}
}
