package node

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// unreachable is the taint of a node that does not report any more.
const unreachable = corev1.TaintNodeUnreachable

func (a *Agent) nodeName(i int) string { return fmt.Sprintf("%s-%d", a.options.NamePrefix, i+1) }

func (a *Agent) nodeNames() []string {
	var names []string
	for i := range a.options.Nodes {
		names = append(names, a.nodeName(i))
	}
	return names
}

func (a *Agent) serves(node string) bool {
	for i := range a.options.Nodes {
		if a.nodeName(i) == node {
			return true
		}
	}
	return false
}

// register creates the node, or takes over one of an earlier agent. Each node
// is a zone of its own.
func (a *Agent) register(ctx context.Context, i int) error {
	name := a.nodeName(i)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
		corev1.LabelTopologyRegion: "test", corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i+1),
	}}}
	_, err := a.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return a.setReady(ctx, name, true)
}

// setReady writes the node's status, and its taint when it is down.
func (a *Agent) setReady(ctx context.Context, name string, ready bool) error {
	nodes := a.client.CoreV1().Nodes()
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		node, err := nodes.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Spec.Taints = nil
		if !ready {
			now := metav1.Now()
			node.Spec.Taints = []corev1.Taint{{Key: unreachable, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &now}}
		}
		if node, err = nodes.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
			return err
		}
		node.Status = a.nodeStatus(name, ready)
		_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
}

func (a *Agent) nodeStatus(name string, ready bool) corev1.NodeStatus {
	now := metav1.Now()
	condition := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
		Message: "kubelet is posting ready status", LastHeartbeatTime: now, LastTransitionTime: now,
	}
	if !ready {
		condition.Status, condition.Reason = corev1.ConditionUnknown, "NodeStatusUnknown"
		condition.Message = "Kubelet stopped posting node status."
	}
	return corev1.NodeStatus{
		Capacity: a.options.Capacity, Allocatable: a.options.Capacity,
		Conditions: []corev1.NodeCondition{condition},
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: a.addresses.nodeAddress()},
			{Type: corev1.NodeHostName, Address: name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubeletPort}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: "v1.37.2", OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
			ContainerRuntimeVersion: "host://1", OSImage: "host processes",
			MachineID: strings.ReplaceAll(name, "-", ""),
		},
	}
}
