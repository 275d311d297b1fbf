package intake

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/api/v1alpha1"
)

func TestInputsOfDurables(t *testing.T) {
	names := "s_lane-0 s_lane-7 s_lane-3 s s_enrich s_lane-x s_lane-70000"
	want := []v1alpha1.ConsumerStatus{
		{Stream: "A", Name: "s_lane", Lanes: 8},
		{Stream: "A", Name: "s", Lanes: 1},
		{Stream: "A", Name: "s_enrich", Lanes: 1},
		{Stream: "A", Name: "s_lane-x", Lanes: 1},
		{Stream: "A", Name: "s_lane-70000", Lanes: 1},
	}
	if diff := cmp.Diff(want, inputsOfDurables("A", strings.Fields(names))); diff != "" {
		t.Error(diff)
	}
}
