package node

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
)

// recorders write core/v1 events as a kubelet does: component kubelet, host
// the node, equal events counted up, similar ones combined and a flood cut
// off (25 at once for one object, then one in five minutes).
type recorders struct {
	broadcaster record.EventBroadcaster
	byNode      map[string]record.EventRecorder
}

func newRecorders(client kubernetes.Interface, nodes []string) *recorders {
	r := &recorders{
		broadcaster: record.NewBroadcaster(),
		byNode:      map[string]record.EventRecorder{},
	}
	r.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	for _, node := range nodes {
		r.byNode[node] = r.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: node})
	}
	return r
}

// container records an event about a container of a pod.
func (r *recorders) container(c *container, kind, reason, message string) {
	path := "spec.containers{" + c.spec.Name + "}"
	if c.init {
		path = "spec.initContainers{" + c.spec.Name + "}"
	}
	r.record(c.pod.newest(), path, kind, reason, message)
}

// warning records an event about a pod.
func (r *recorders) warning(object *corev1.Pod, path, reason, message string) {
	r.record(object, path, corev1.EventTypeWarning, reason, message)
}

// node records an event about a node.
func (r *recorders) node(object *corev1.Node, reason, message string) {
	ref := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: object.Name, UID: object.UID}
	r.byNode[object.Name].Event(ref, corev1.EventTypeNormal, reason, message)
}

func (r *recorders) record(object *corev1.Pod, path, kind, reason, message string) {
	ref, err := reference.GetPartialReference(scheme.Scheme, object, path)
	if err != nil {
		return // a Pod is always in the scheme
	}
	r.byNode[object.Spec.NodeName].Event(ref, kind, reason, message)
}

func (r *recorders) shutdown() { r.broadcaster.Shutdown() }
