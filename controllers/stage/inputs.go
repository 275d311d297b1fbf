package stage

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
)

// knownInputs are what a stage reads or read, by its status and, since that may be lost, by the revision of its workers; nil when
// there is none.
func knownInputs(stage *v1alpha1.Stage, have *corev1.ConfigMap) []v1alpha1.ConsumerStatus {
	known := slices.Clone(stage.Status.Consumers)
	if have == nil || !isIntact(stage.Name, have) {
		return known
	}
	for _, in := range inputsOf(have) {
		entry := v1alpha1.ConsumerStatus{Stream: in.Stream, Name: in.Durable, Lanes: int32(max(lanesOf(have), 1))}
		if !named(known, entry) {
			known = append(known, entry)
		}
	}
	return known
}

// named says whether an input is among others.
func named(inputs []v1alpha1.ConsumerStatus, entry v1alpha1.ConsumerStatus) bool {
	return slices.ContainsFunc(inputs, func(i v1alpha1.ConsumerStatus) bool { return i.Stream == entry.Stream && i.Name == entry.Name })
}

// inputsOfDurables are the inputs whose consumers have these names: those of the lanes of one belong together.
func inputsOfDurables(stream string, names []string) []v1alpha1.ConsumerStatus {
	var inputs []v1alpha1.ConsumerStatus
	for _, name := range names {
		durable, lane, several := plan.SplitConsumer(name)
		entry := v1alpha1.ConsumerStatus{Stream: stream, Name: durable, Lanes: 1}
		if several {
			entry.Lanes = max(int32(lane)+1, 2)
		}
		same := slices.IndexFunc(inputs, func(in v1alpha1.ConsumerStatus) bool { return in.Name == entry.Name })
		if same < 0 {
			inputs = append(inputs, entry)
			continue
		}
		inputs[same].Lanes = max(inputs[same].Lanes, entry.Lanes)
	}
	return inputs
}
