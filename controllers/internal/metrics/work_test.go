package metrics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOutcomes: each pass counts once, as what the object is in the end; a refusal counts when it begins.
func TestOutcomes(t *testing.T) {
	w := NewWork()
	pass := func(before, after []metav1.Condition, deleting bool, failure error) {
		p := pipeline(before...)
		err := error(nil)
		done := w.Reconciling("Pipeline", &p, &p.Status.Conditions, &err)
		if deleting {
			p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}
		p.Status.Conditions, err = after, failure
		done()
	}
	ready := []metav1.Condition{condition("Ready", "True", "Ready")}
	refused := []metav1.Condition{condition("Accepted", "False", "Invalid"), condition("Ready", "False", "Invalid"), condition("Stalled", "True", "Invalid")}
	waiting := []metav1.Condition{condition("Ready", "False", "NATSUnreachable"), condition("Reconciling", "True", "NATSUnreachable")}
	pass(nil, ready, false, nil)
	pass(ready, ready, false, nil)
	pass(ready, refused, false, nil)
	pass(refused, refused, false, nil) // the same refusal
	pass(refused, waiting, false, nil)
	pass(waiting, refused, false, nil) // another one
	pass(ready, ready, true, nil)
	pass(ready, ready, false, errors.New("no"))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			words := []string{strings.TrimPrefix(family.GetName(), "millrace_operator_")}
			for _, l := range m.GetLabel() {
				words = append(words, l.GetValue())
			}
			if n := m.GetCounter().GetValue(); n > 0 {
				got = append(got, fmt.Sprintf("%s %v", strings.Join(words, " "), n))
			}
		}
	}
	want := []string{
		"plan_refusals_total Pipeline 2",
		"reconciles_total Pipeline deleting 1", "reconciles_total Pipeline error 1", "reconciles_total Pipeline ready 2",
		"reconciles_total Pipeline stalled 3", "reconciles_total Pipeline waiting 1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
