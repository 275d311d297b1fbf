package graph

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

// Former names those of them that are not planned any more.
func Former(c v1alpha1.ConsumerStatus, planned []plan.Consumer) []string {
	return slices.DeleteFunc(Durables(c), func(name string) bool {
		return slices.ContainsFunc(planned, func(p plan.Consumer) bool { return p.Stream == c.Stream && p.Durable == name })
	})
}
