package journal_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/journal"
)

// TestEventIsALogLine: each Event is recorded, and a line of the log that says of what, what and why. Repairs are counted.
func TestEventIsALogLine(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var repairs []string
	recorded := events.NewFakeRecorder(2)
	r := &journal.Recorder{
		EventRecorder: recorded, Log: logr.FromSlogHandler(slog.NewJSONHandler(&out, nil)), Scheme: scheme,
		Repaired: func(kind, what string) { repairs = append(repairs, kind+" "+what) },
	}
	stage := &v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders-check"}}
	r.Eventf(stage, nil, "Normal", v1alpha1.ReasonCreated, "ReconcileConsumer", "%s", "created consumer a")
	r.Eventf(stage, nil, "Warning", v1alpha1.ReasonRepaired, "ReconcileConsumer", "%s", "repaired consumer a (100% of max_deliver)")
	if len(recorded.Events) != 2 {
		t.Errorf("%d Events were recorded", len(recorded.Events))
	}
	if diff := cmp.Diff([]string{"Stage consumer"}, repairs); diff != "" {
		t.Errorf("repairs (-want +got)\n%s", diff)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("the log has\n%s", out.String())
	}
	got := map[string]string{}
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	want := map[string]string{
		"level": "INFO", "msg": "transition", "kind": "Stage", "namespace": "shop", "name": "orders-check", "type": "Warning",
		"reason": "Repaired", "action": "ReconcileConsumer", "what": "repaired consumer a (100% of max_deliver)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the line (-want +got)\n%s", diff)
	}
}
