package journal

import (
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"millrace.dev/millrace/api/v1alpha1"
)

// Recorder records Events, and writes a line of the log for each.
type Recorder struct {
	events.EventRecorder
	Log logr.Logger
	// Scheme knows the kinds of the objects.
	Scheme *runtime.Scheme
	// Repaired counts the Events of repairs, by kind of the object and what was repaired: stream, stage or consumer.
	Repaired func(kind, what string)
}

// Eventf implements events.EventRecorder.
func (r *Recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	r.EventRecorder.Eventf(regarding, related, kind, reason, action, note, args...)
	var of, name, namespace string
	if gvk, err := apiutil.GVKForObject(regarding, r.Scheme); err == nil {
		of = gvk.Kind
	}
	if object, err := meta.Accessor(regarding); err == nil {
		name, namespace = object.GetName(), object.GetNamespace()
	}
	r.Log.Info("transition", "kind", of, "namespace", namespace, "name", name,
		"type", kind, "reason", reason, "action", action, "what", fmt.Sprintf(note, args...))
	if reason == v1alpha1.ReasonRepaired {
		r.Repaired(of, strings.ToLower(strings.TrimPrefix(action, "Reconcile")))
	}
}
