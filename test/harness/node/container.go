package node

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"millrace.dev/millrace/test/harness/process"
)

// container runs one container of a pod, again and again as its restart
// policy says.
type container struct {
	pod     *pod
	spec    *corev1.Container
	init    bool
	sidecar bool // an init container with restartPolicy Always
	policy  corev1.RestartPolicy
	root    string
	up      chan struct{} // closed when first started, after its startup probe
	upOnce  sync.Once
	attempt int32 // of the next process; only run changes it

	// of the process that runs, for exec; set before its probes start
	entrypoint []string
	values     *variables

	// guarded by pod.mu
	state, last corev1.ContainerState
	restarts    int32 // of the newest process
	started     bool  // passed its startup probe
	ready       bool  // passes its readiness probe
	done        bool  // will not run again
	process     *process.Process
	id          string
}

// newContainer continues from the status of an earlier agent or of a node
// that was down: what it left running has died.
func newContainer(p *pod, spec *corev1.Container, init bool, statuses []corev1.ContainerStatus) *container {
	c := &container{
		pod: p, spec: spec, init: init, policy: p.object.Spec.RestartPolicy,
		root: filepath.Join(p.dir, "root", spec.Name), up: make(chan struct{}),
	}
	if spec.RestartPolicy != nil {
		c.policy = corev1.RestartPolicy(*spec.RestartPolicy)
		c.sidecar = init && c.policy == corev1.RestartPolicyAlways
	} else if init && c.policy == corev1.RestartPolicyAlways {
		c.policy = corev1.RestartPolicyOnFailure
	}
	c.wait("ContainerCreating", "")
	if init || len(p.object.Spec.InitContainers) > 0 {
		c.wait("PodInitializing", "")
	}
	for _, s := range statuses {
		if s.Name != spec.Name {
			continue
		}
		c.restarts, c.last = s.RestartCount, s.LastTerminationState
		if s.State.Terminated != nil {
			c.last = s.State
		}
		if s.State.Running != nil {
			c.last = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: 255, Reason: "Unknown", StartedAt: s.State.Running.StartedAt,
				FinishedAt: now(), ContainerID: s.ContainerID,
			}}
		}
		if s.State.Running != nil || s.State.Terminated != nil {
			c.attempt = s.RestartCount + 1
		}
	}
	return c
}

// run returns when the container will not run again, or after ctx has ended
// and the process with it.
func (c *container) run(ctx context.Context) {
	backOff := newBackOff(c.pod.agent.options)
	for {
		command, ok := c.prepare(ctx)
		if !ok {
			return
		}
		began := time.Now()
		code := c.runOnce(ctx, command)
		if ctx.Err() != nil || !c.restartsAfter(code) {
			c.giveUp()
			return
		}
		if !c.backOff(ctx, backOff, time.Since(began)) {
			c.giveUp()
			return
		}
		c.attempt++
	}
}

func (c *container) restartsAfter(code int) bool {
	switch c.policy {
	case corev1.RestartPolicyAlways:
		return true
	case corev1.RestartPolicyOnFailure:
		return code != 0
	default:
		return false
	}
}

// runOnce starts the process, probes it and waits for its end, which a
// failing liveness probe or the end of ctx brings about.
func (c *container) runOnce(ctx context.Context, command process.Command) int {
	id := strings.ReplaceAll(string(uuid.NewUUID()), "-", "")
	c.event(corev1.EventTypeNormal, "Created", "Container created")
	began := now()
	p, err := process.Start(command)
	if err != nil {
		c.event(corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		c.locked(func() { c.rotate() })
		c.terminate(corev1.ContainerStateTerminated{
			ExitCode: 128, Reason: "StartError", Message: err.Error(), StartedAt: began, FinishedAt: now(),
		})
		return 128
	}
	c.locked(func() {
		c.rotate()
		c.process, c.id = p, id
		c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}
		c.started = c.spec.StartupProbe == nil
		c.ready = c.started && c.spec.ReadinessProbe == nil
	})
	c.event(corev1.EventTypeNormal, "Started", "Container started")

	probes := c.startProbes(p)
	select {
	case <-p.Done():
	case <-ctx.Done():
		c.event(corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
		probes.terminating()
		c.stop(p, c.pod.graceLeft())
	case failed := <-probes.failed:
		c.event(corev1.EventTypeNormal, "Killing", failed.message)
		c.stop(p, failed.grace)
	}
	probes.stop()

	code, signal := p.ExitCode()
	c.terminate(c.exitState(code, signal, began, command.LogFile))
	return code
}

// rotate makes the state of the process before the last one.
func (c *container) rotate() {
	if c.state.Terminated != nil {
		c.last = c.state
	}
	c.restarts = c.attempt
}

// stop ends a process as the kubelet does: preStop hook, SIGTERM, SIGKILL at
// the end of the grace period, or at once when the pod is gone.
func (c *container) stop(p *process.Process, grace time.Duration) {
	deadline := time.Now().Add(grace)
	if grace > 0 {
		c.preStop(p, grace)
	}
	_ = p.Signal(syscall.SIGTERM)
	// A hook that used up the grace period leaves two more seconds.
	left := time.Until(deadline)
	if grace > 0 && left < 2*time.Second && c.spec.Lifecycle != nil {
		left = 2 * time.Second
	}
	timer := time.NewTimer(max(0, left))
	defer timer.Stop()
	select {
	case <-p.Done():
		return
	case <-timer.C:
	case <-c.pod.hard.Done():
	}
	p.Kill()
}

func (c *container) exitState(code int, signal syscall.Signal, began metav1.Time, log string) corev1.ContainerStateTerminated {
	state := corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: "Completed", StartedAt: began, FinishedAt: now(),
	}
	if code != 0 {
		state.Reason = "Error"
		if c.spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
			state.Message = process.Tail(log, 2048)
		}
	}
	if signal != 0 {
		state.Signal = int32(signal)
	}
	return state
}

func (c *container) terminate(state corev1.ContainerStateTerminated) {
	c.locked(func() {
		if c.id != "" {
			state.ContainerID = containerID(c.id)
		}
		c.state = corev1.ContainerState{Terminated: &state}
		c.started, c.ready, c.process = false, false, nil
	})
}

// giveUp records that the container will not run again. One that never ran
// is reported as the kubelet does.
func (c *container) giveUp() {
	c.locked(func() {
		c.done = true
		if c.state.Waiting == nil || c.pod.terminated.IsZero() {
			return
		}
		if c.last.Terminated != nil {
			c.state, c.last = c.last, corev1.ContainerState{}
			return
		}
		c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 137, Reason: "ContainerStatusUnknown",
			Message: "The container could not be located when the pod was terminated",
		}}
	})
}

// succeeded reports whether the last run ended with exit code 0.
func (c *container) succeeded() bool {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.done && c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
}

// wait is the state of a container that does not run yet or again.
func (c *container) wait(reason, message string) {
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// locked changes the state and asks for a status update.
func (c *container) locked(change func()) {
	c.pod.mu.Lock()
	change()
	c.pod.mu.Unlock()
	c.pod.touch()
}

func (c *container) event(kind, reason, message string) {
	c.pod.agent.events.container(c, kind, reason, message)
}

func containerID(id string) string { return fmt.Sprintf("host://%s", id) }
