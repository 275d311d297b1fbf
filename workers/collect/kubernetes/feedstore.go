package kubernetes

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// feedStore delivers one resource to the observer.
type feedStore[T metav1.Object] struct {
	*observer
	kind string
	// at orders the objects of a list, the older first.
	at   func(T) time.Time
	find func(T, past) []finding
	// after is called when an object was observed; nil = nothing is to be done.
	after func(T)
}

// Set observes an object.
func (s feedStore[T]) Set(o any) {
	object := o.(T)
	s.observe(s.kind, object, func(p past) []finding { return s.find(object, p) })
	if s.after != nil {
		s.after(object)
	}
}

// Remove publishes that an object is gone. Its last state may hold news.
func (s feedStore[T]) Remove(o any) {
	s.Set(o)
	s.gone(s.kind, string(o.(T).GetUID()))
}

// Replace observes a list.
func (s feedStore[T]) Replace(all []any) {
	s.begin(s.kind)
	slices.SortStableFunc(all, func(a, b any) int { return s.at(a.(T)).Compare(s.at(b.(T))) })
	there := make(map[string]struct{}, len(all))
	for _, o := range all {
		there[string(o.(T).GetUID())] = struct{}{}
		s.Set(o)
	}
	s.only(s.kind, there)
}

func created[T metav1.Object](o T) time.Time { return o.GetCreationTimestamp().Time }
