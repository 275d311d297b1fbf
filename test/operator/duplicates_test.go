package operator_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/lease"
)

// TestDuplicatesAreInTheStatus: the operator reads from the table of leases what the workers have counted. A table of
// workers of an earlier release has no counts, and breaks nothing.
func TestDuplicatesAreInTheStatus(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.small()
	p.Spec.Stages[0].Validate.Dedupe = &v1alpha1.DedupeSpec{Window: &metav1.Duration{Duration: time.Minute}}
	x.start(p)
	kv, err := x.js.KeyValue(t.Context(), x.ns+"_obs")
	if err != nil {
		t.Fatal(err)
	}
	// As workers write it (workers/lease).
	write := func(table lease.Table) {
		t.Helper()
		data, err := json.Marshal(table)
		if err == nil {
			_, err = kv.Put(t.Context(), "validate", data)
		}
		if err != nil {
			t.Fatal(err)
		}
		x.publish(1) // the numbers in status follow the ingress
	}
	shows := func(want *v1alpha1.DuplicatesStatus) {
		t.Helper()
		x.eventually(func() error {
			got := x.stage("obs-validate").Status.Duplicates
			x.get(p)
			sum := p.Status.Duplicates
			switch {
			case (got == nil) != (want == nil) || (sum == nil) != (want == nil):
			case want == nil || got.Events == want.Events && got.Since.Equal(&want.Since) && *sum == want.Events:
				return nil
			}
			return fmt.Errorf("the stage has %+v, the pipeline %v, want %+v", got, sum, want)
		})
	}
	shows(nil)
	since := metav1.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	workers := map[string]lease.Worker{"a": {Beat: 1}}
	write(lease.Table{Workers: workers, Lanes: []string{"a"}, Counts: &config.Counts{Since: since.Time, Duplicates: map[string]uint64{"validate": 17, "other": 5}}})
	shows(&v1alpha1.DuplicatesStatus{Events: 17, Since: since})

	if err := kv.Delete(t.Context(), "validate"); err != nil { // the next worker makes it again
		t.Fatal(err)
	}
	x.publish(1)
	time.Sleep(3 * fresh)
	shows(&v1alpha1.DuplicatesStatus{Events: 17, Since: since})

	write(lease.Table{Workers: workers, Lanes: []string{"a"}})
	shows(nil)
	x.ready(p)
}
