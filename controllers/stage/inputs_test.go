package stage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

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

// TestRevisionTellsInputs: of a stage whose status is lost; one that somebody edited tells nothing.
func TestRevisionTellsInputs(t *testing.T) {
	_, before := moved(t)
	stage := child("correlate")
	want := []v1alpha1.ConsumerStatus{{Stream: "SHOP_OBS_ENRICH", Name: "shop-obs-correlate", Lanes: 1}}
	if diff := cmp.Diff(want, knownInputs(stage, &before)); diff != "" {
		t.Error(diff)
	}
	stage.Status.Consumers = []v1alpha1.ConsumerStatus{{Stream: "SHOP_OBS_ENRICH", Name: "shop-obs-correlate", Lanes: 1, Pending: 7}}
	if diff := cmp.Diff(stage.Status.Consumers, knownInputs(stage, &before)); diff != "" {
		t.Errorf("an input is known twice, or otherwise:\n%s", diff)
	}
	stage.Status.Consumers = nil
	before.Data[configKey] = strings.Replace(before.Data[configKey], "SHOP_OBS_ENRICH", "OTHER", 1)
	for _, have := range []*corev1.ConfigMap{&before, nil} {
		if got := knownInputs(stage, have); len(got) > 0 {
			t.Errorf("got %v, want nothing", got)
		}
	}
}

// TestFoundInputsWithEventsAreLost: only their consumers tell of them, so nobody can say that no worker was to read them.
func TestFoundInputsWithEventsAreLost(t *testing.T) {
	s, _ := moved(t)
	s.configMaps = []corev1.ConfigMap{present(s)}
	s.stage.Status = v1alpha1.StageStatus{Revision: s.configMaps[0].Name}
	s.former[0].begun = false
	for _, found := range []bool{false, true} {
		s.former[0].found = found
		if in := mustDecide(t, s); (len(in.lost) > 0) != found || (len(in.drop) > 0) == found {
			t.Errorf("found %t: got %d lost, %d deleted", found, len(in.lost), len(in.drop))
		}
	}
}
