package lifecycle

import (
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// MadeOrGone lets through that an object is made or deleted, and nothing in between.
func MadeOrGone() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }})
}

// Updated lets through updates of objects of one kind that changed in what matters; whether they are made or deleted always does.
func Updated[O client.Object](changed func(before, after O) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(O)
		after, ok2 := e.ObjectNew.(O)
		return ok1 && ok2 && changed(before, after)
	}}
}
