package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Why a pod's processes are killed at once, without a word to the API.
var (
	errGone    = errors.New("the pod is gone from the API")
	errCrashed = errors.New("the node crashed")
)

// retryInterval of calls to the API.
const retryInterval = 200 * time.Millisecond

// firstMountRetry is how long a pod waits for a volume that is not there yet.
const firstMountRetry = 500 * time.Millisecond

// pod runs one pod, in a goroutine of its own.
type pod struct {
	agent *Agent
	uid   types.UID
	dir   string
	ip    string

	inits      []*container
	containers []*container
	volumes    *volumes

	// live ends when the pod is to terminate in order; hard ends after
	// that, or at once when the pod is gone, the node crashes or the agent
	// stops. After hard nothing is written to the API.
	live, hard context.Context
	terminate  context.CancelFunc
	kill       context.CancelCauseFunc

	dirty   chan struct{} // asks for a status update
	over    chan struct{} // closed when the agent has forgotten the pod
	writing sync.Mutex    // held while the status is written

	mu         sync.Mutex
	object     *corev1.Pod // the newest known
	terminated time.Time   // when live ended by a deletion
	networked  bool        // has its address and volumes
}

func newPod(a *Agent, object *corev1.Pod) *pod {
	p := &pod{
		agent: a, uid: object.UID, object: object,
		dir:   filepath.Join(a.podsDir(), string(object.UID)[:13]), // short: sockets have 108 bytes,
		dirty: make(chan struct{}, 1), over: make(chan struct{}),
	}
	p.hard, p.kill = context.WithCancelCause(a.ctx)
	p.live, p.terminate = context.WithCancel(p.hard)
	p.volumes = newVolumes(p)
	for i := range object.Spec.InitContainers {
		spec := &object.Spec.InitContainers[i]
		p.inits = append(p.inits, newContainer(p, spec, true, object.Status.InitContainerStatuses))
	}
	for i := range object.Spec.Containers {
		spec := &object.Spec.Containers[i]
		p.containers = append(p.containers, newContainer(p, spec, false, object.Status.ContainerStatuses))
	}
	p.update(object)
	return p
}

// update takes over a newer object from the watch.
func (p *pod) update(object *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.object = object
	if object.DeletionTimestamp != nil && p.terminated.IsZero() {
		p.terminated = time.Now()
		p.terminate()
	}
	p.touch()
}

// end kills the pod's processes at once.
func (p *pod) end(cause error) { p.kill(cause) }

// newest is the pod as the API last gave it. Read only.
func (p *pod) newest() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object
}

func (p *pod) run() {
	defer p.kill(nil)
	reporting := make(chan struct{})
	go func() { defer close(reporting); p.reportStatus() }()

	p.work()

	// Either everything has ended by itself, or live has ended.
	for _, c := range p.all() {
		c.giveUp()
	}
	p.touch()
	select {
	case <-p.live.Done():
	case <-p.hard.Done():
	}
	p.deleteFromAPI()
	p.kill(nil)
	<-reporting
}

// work runs the containers and returns when all have ended for good.
func (p *pod) work() {
	var background sync.WaitGroup
	defer background.Wait()
	working, done := context.WithCancel(p.hard)
	defer done()

	if !p.setUp() {
		return
	}
	background.Go(func() { p.volumes.refresh(working) })

	sidecars, stopSidecars := context.WithCancel(p.hard)
	var sidecarsDone sync.WaitGroup
	defer sidecarsDone.Wait()
	defer stopSidecars()
	for _, c := range p.inits {
		if c.sidecar {
			sidecarsDone.Go(func() { c.run(sidecars) })
			select {
			case <-c.up:
			case <-p.live.Done():
				return
			}
			continue
		}
		if c.run(p.live); !c.succeeded() {
			return
		}
	}
	var running sync.WaitGroup
	for _, c := range p.containers {
		running.Go(func() { c.run(p.live) })
	}
	running.Wait()
}

// setUp makes the address, the folders and the volumes; false when the pod
// ended before.
//
// Retries begin after 500 ms and double, as the kubelet's of a volume do, up to
// the agent's longest back-off (the kubelet's is two minutes).
func (p *pod) setUp() bool {
	for delay := firstMountRetry; ; delay = min(2*delay, max(firstMountRetry, p.agent.options.MaxBackOff)) {
		err := p.trySetUp()
		if err == nil {
			break
		}
		p.agent.events.warning(p.newest(), "", "FailedMount", "MountVolume.SetUp failed "+err.Error())
		if !sleep(p.live, delay) {
			return false
		}
	}
	p.mu.Lock()
	p.networked = true
	p.mu.Unlock()
	p.touch()
	return p.live.Err() == nil
}

func (p *pod) trySetUp() error {
	if p.ip == "" {
		ip, err := p.agent.addresses.take()
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.ip = ip
		p.mu.Unlock()
	}
	if err := p.volumes.sync(p.live); err != nil {
		return err
	}
	for _, c := range p.all() {
		if err := c.mount(); err != nil {
			return err
		}
	}
	return os.MkdirAll(p.logDir(), 0o700)
}

func (p *pod) all() []*container {
	return append(append([]*container(nil), p.inits...), p.containers...)
}

func (p *pod) logDir() string {
	o := p.newest()
	return filepath.Join(p.agent.LogDir(), o.Namespace+"_"+o.Name+"_"+string(o.UID))
}

// graceLeft of an orderly termination that is under way, or the pod's whole
// grace period.
func (p *pod) graceLeft() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	grace := 30 * time.Second
	if seconds := p.object.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	if p.terminated.IsZero() {
		return grace
	}
	if seconds := p.object.DeletionGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	return max(0, time.Until(p.terminated.Add(grace)))
}

// deleteFromAPI does the kubelet's final delete of a terminating pod, after
// a last status, until it works or the pod is gone.
func (p *pod) deleteFromAPI() {
	if p.hard.Err() != nil {
		return
	}
	for p.writeStatus(p.hard) != nil && sleep(p.hard, retryInterval) {
	}
	o := p.newest()
	zero := int64(0)
	options := metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &p.uid}}
	for p.hard.Err() == nil {
		err := p.agent.client.CoreV1().Pods(o.Namespace).Delete(p.hard, o.Name, options)
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		sleep(p.hard, retryInterval)
	}
}
