package intake

import (
	"slices"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// Durables names the consumers, one for each lane, of an input that the status of a Stage speaks of.
func Durables(c v1alpha1.ConsumerStatus) []string {
	lanes := max(int(c.Lanes), 1)
	names := make([]string, lanes)
	for lane := range lanes {
		names[lane] = config.Input{Durable: c.Name}.Consumer(lane, lanes)
	}
	return names
}

// named says whether an input is among others.
func named(inputs []v1alpha1.ConsumerStatus, entry v1alpha1.ConsumerStatus) bool {
	return slices.ContainsFunc(inputs, func(i v1alpha1.ConsumerStatus) bool {
		return i.Stream == entry.Stream && i.Name == entry.Name && i.Lanes == entry.Lanes
	})
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
