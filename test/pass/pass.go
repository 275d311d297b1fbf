package pass

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Want is what a pass comes to. A list is separated by ", ".
type Want struct {
	// Ready is "Reconciling Reason" or "Stalled Reason" of an object that is not ready, and the reason of one that is. Empty = Ready.
	Ready string
	// Conditions are those that are other than in a healthy object, each as "Type Status Reason" or "Type absent".
	Conditions string
	// Events are all of the pass, each as "Type Reason", in their order.
	Events string
	// Next is when the next pass is: "resync", "fresh", "after 1s", "rate limited" after an error, or "on event" alone.
	Next string
}

// Got is what a pass came to.
type Got struct {
	Conditions []metav1.Condition
	Events     *Recorder
	Result     reconcile.Result
	Err        error
}

// Table knows what is the same for all rows of a controller.
type Table struct {
	// Healthy are the conditions of an object with which all is well, but for Ready.
	Healthy []string
	// Resync and Fresh are the intervals as the object in the rows has them.
	Resync, Fresh time.Duration
}

// Check compares.
func (table Table) Check(t *testing.T, want Want, got Got) {
	t.Helper()
	var conditions []string
	for _, c := range got.Conditions {
		conditions = append(conditions, fmt.Sprintf("%s %s %s", c.Type, c.Status, c.Reason))
	}
	slices.Sort(conditions)
	if diff := cmp.Diff(table.conditions(want), conditions); diff != "" {
		t.Errorf("conditions (-want +got)\n%s", diff)
		for _, c := range got.Conditions {
			t.Logf("%s: %s", c.Type, c.Message)
		}
	}
	if diff := cmp.Diff(split(want.Events), got.Events.briefs); diff != "" {
		t.Errorf("Events (-want +got)\n%s%s", diff, strings.Join(got.Events.notes, "\n"))
	}
	if next := table.next(got); next != want.Next {
		t.Errorf("the next pass is %q, want %q", next, want.Next)
	}
}

// conditions are all that a row wants, sorted.
func (table Table) conditions(want Want) []string {
	all := map[string]string{}
	for _, c := range append(slices.Clone(table.Healthy), split(want.Conditions)...) {
		kind, says, _ := strings.Cut(c, " ")
		all[kind] = says
	}
	switch summary, reason, found := strings.Cut(want.Ready, " "); {
	case all["Ready"] != "":
	case found:
		all["Ready"], all[summary] = "False "+reason, "True "+reason
	case summary == "":
		all["Ready"] = "True Ready"
	default:
		all["Ready"] = "True " + summary
	}
	var list []string
	for kind, says := range all {
		if says != "absent" {
			list = append(list, kind+" "+says)
		}
	}
	slices.Sort(list)
	return list
}

func (table Table) next(got Got) string {
	switch after := got.Result.RequeueAfter; {
	case got.Err != nil:
		return "rate limited"
	case after == 0:
		return "on event"
	case after == table.Resync:
		return "resync"
	case after == table.Fresh:
		return "fresh"
	default:
		return "after " + after.String()
	}
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ", ")
}

// Recorder records Events.
type Recorder struct{ briefs, notes []string }

// Eventf implements events.EventRecorder.
func (r *Recorder) Eventf(_, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.briefs = append(r.briefs, kind+" "+reason)
	r.notes = append(r.notes, kind+" "+reason+": "+fmt.Sprintf(note, args...))
}
