package node

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// nodeChanged records that a node of the agent was cordoned or uncordoned, as a
// kubelet does when it sees its own node change.
func (a *Agent) nodeChanged(before, now any) {
	was, ok := before.(*corev1.Node)
	is, isNode := now.(*corev1.Node)
	if !ok || !isNode || !a.serves(is.Name) || was.Spec.Unschedulable == is.Spec.Unschedulable {
		return
	}
	reason := "NodeSchedulable"
	if is.Spec.Unschedulable {
		reason = "NodeNotSchedulable"
	}
	a.events.node(is, reason, fmt.Sprintf("Node %s status is now: %s", is.Name, reason))
}
