package revision

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
)

// History is the revisions of a stage, the oldest first.
type History []*Revision

// HistoryOf reads the revisions that a Stage owns. One that cannot be read is an error: to go by the others would be to run
// what is out of date.
func HistoryOf(stage *v1alpha1.Stage, objects []appsv1.ControllerRevision) (History, error) {
	var h History
	for i := range objects {
		if !metav1.IsControlledBy(&objects[i], stage) || !objects[i].DeletionTimestamp.IsZero() {
			continue
		}
		r, err := Decode(&objects[i])
		if err != nil {
			return nil, err
		}
		h = append(h, r)
	}
	slices.SortFunc(h, func(a, b *Revision) int { return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Name, b.Name)) })
	return h, nil
}

// Newest is nil when there is none.
func (h History) Newest() *Revision {
	if len(h) == 0 {
		return nil
	}
	return h[len(h)-1]
}

// Mounting is the newest revision whose workers mount a ConfigMap; nil when there is none.
func (h History) Mounting(configMap string) *Revision {
	for _, r := range slices.Backward(h) {
		if configMap != "" && r.ConfigMap == configMap {
			return r
		}
	}
	return nil
}

// Reading is the newest revision that reads an input; nil when there is none.
func (h History) Reading(stream, durable string) *Revision {
	for _, r := range slices.Backward(h) {
		if r.Reads(stream, durable) {
			return r
		}
	}
	return nil
}

// Complete says whether all revisions are there, from the first one to the newest, and the one that a Stage has seen is among them; seen is its
// name, empty when it has seen none.
func (h History) Complete(seen string) bool {
	for i, r := range h {
		if r.Number != int64(i)+1 {
			return false
		}
	}
	return seen == "" || slices.ContainsFunc(h, func(r *Revision) bool { return r.Name == seen })
}

// Left is when the stage was told not to read an input any more; zero when that is not known, or it is to read it.
func (h History) Left(stream, durable string) time.Time {
	last := h.Reading(stream, durable)
	if last == nil {
		return time.Time{}
	}
	for _, r := range h {
		if r.Number > last.Number {
			return r.Created
		}
	}
	return time.Time{}
}
