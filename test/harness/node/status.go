package node

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// now in the precision of the API, so that what was written compares equal
// when it comes back.
func now() metav1.Time { return metav1.Now().Rfc3339Copy() }

// touch asks for a status update.
func (p *pod) touch() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// reportStatus writes the status whenever it changed, until hard ends.
func (p *pod) reportStatus() {
	for {
		select {
		case <-p.hard.Done():
			return
		case <-p.dirty:
		}
		for p.writeStatus(p.hard) != nil && sleep(p.hard, retryInterval) {
		}
	}
}

// writeStatus brings the status in the API up to date. Conditions of others
// stay. A pod that is gone is no error.
func (p *pod) writeStatus(ctx context.Context) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	base := p.newest()
	next := base.DeepCopy()
	p.fill(next)
	if equality.Semantic.DeepEqual(base.Status, next.Status) {
		return nil
	}
	pods := p.agent.client.CoreV1().Pods(base.Namespace)
	updated, err := pods.UpdateStatus(ctx, next, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		updated, err = pods.Get(ctx, base.Name, metav1.GetOptions{})
		if err == nil && updated.UID == p.uid {
			p.update(updated)
			return fmt.Errorf("status of %s/%s: conflict", base.Namespace, base.Name)
		}
		return nil
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}
	p.update(updated)
	return nil
}

// fill computes the status from the containers.
func (p *pod) fill(object *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &object.Status
	s.ObservedGeneration = object.Generation
	s.Phase = p.phase()
	if s.StartTime == nil {
		started := now()
		s.StartTime = &started
	}
	host := p.agent.addresses.nodeAddress()
	s.HostIP, s.HostIPs = host, []corev1.HostIP{{IP: host}}
	if p.networked {
		s.PodIP, s.PodIPs = p.ip, []corev1.PodIP{{IP: p.ip}}
	}
	s.InitContainerStatuses = statuses(p.inits)
	s.ContainerStatuses = statuses(p.containers)
	p.conditions(object)
}

// phase of the pod. p.mu is held.
func (p *pod) phase() corev1.PodPhase {
	initialized := true
	for _, c := range p.inits {
		if c.done && !c.sidecar && !c.exitedZero() {
			return corev1.PodFailed
		}
		initialized = initialized && (c.done || c.sidecar && c.started)
	}
	all, zero, begun := true, true, false
	for _, c := range p.containers {
		all = all && c.done
		zero = zero && c.exitedZero()
		begun = begun || c.state.Waiting == nil || c.last.Terminated != nil
	}
	switch {
	case all && zero:
		return corev1.PodSucceeded
	case all:
		return corev1.PodFailed
	case begun && initialized:
		return corev1.PodRunning
	default:
		return corev1.PodPending
	}
}

func (c *container) exitedZero() bool {
	return c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
}

func statuses(containers []*container) []corev1.ContainerStatus {
	var result []corev1.ContainerStatus
	for _, c := range containers {
		started := c.started
		s := corev1.ContainerStatus{
			Name: c.spec.Name, Image: c.spec.Image, ImageID: "host://" + c.spec.Image,
			State: c.state, LastTerminationState: c.last,
			Ready: c.ready, Started: &started, RestartCount: c.restarts,
		}
		if c.init && !c.sidecar {
			s.Ready = c.exitedZero()
		}
		if c.id != "" {
			s.ContainerID = containerID(c.id)
		}
		result = append(result, s)
	}
	return result
}

// conditions a kubelet owns. p.mu is held.
func (p *pod) conditions(object *corev1.Pod) {
	completed := object.Status.Phase == corev1.PodSucceeded
	var uninitialized, unready []string
	for _, c := range p.inits {
		if !c.exitedZero() && !(c.sidecar && c.started) {
			uninitialized = append(uninitialized, c.spec.Name)
		}
		if c.sidecar && !c.ready {
			unready = append(unready, c.spec.Name)
		}
	}
	for _, c := range p.containers {
		if !c.ready {
			unready = append(unready, c.spec.Name)
		}
	}
	initialized, containers := condition(corev1.PodInitialized), condition(corev1.ContainersReady)
	if len(uninitialized) > 0 && !completed {
		initialized.Status, initialized.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		initialized.Message = fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(uninitialized, " "))
	}
	if len(unready) > 0 {
		containers.Status, containers.Reason = corev1.ConditionFalse, "ContainersNotReady"
		containers.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	if object.Status.Phase == corev1.PodFailed {
		containers.Reason, containers.Message = "PodFailed", ""
	}
	if completed {
		initialized.Reason = "PodCompleted"
		containers.Reason, containers.Message = "PodCompleted", ""
	}
	ready := containers
	ready.Type = corev1.PodReady
	for _, gate := range object.Spec.ReadinessGates {
		if ready.Status == corev1.ConditionTrue && !isTrue(object.Status.Conditions, gate.ConditionType) {
			ready.Status, ready.Reason = corev1.ConditionFalse, "ReadinessGatesNotReady"
			ready.Message = fmt.Sprintf("the status of pod readiness gate %q is not \"True\"", gate.ConditionType)
		}
	}
	network := condition(corev1.PodReadyToStartContainers)
	if !p.networked || completed {
		network.Status = corev1.ConditionFalse
	}
	for _, c := range []corev1.PodCondition{network, initialized, ready, containers} {
		c.ObservedGeneration = object.Generation
		setCondition(&object.Status, c)
	}
}

func condition(kind corev1.PodConditionType) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue}
}

func isTrue(conditions []corev1.PodCondition, kind corev1.PodConditionType) bool {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// setCondition keeps the transition time of a condition whose status stays.
func setCondition(status *corev1.PodStatus, c corev1.PodCondition) {
	c.LastTransitionTime = now()
	for i, old := range status.Conditions {
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		status.Conditions[i] = c
		return
	}
	status.Conditions = append(status.Conditions, c)
}
