package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/test/harness/process"
)

// probeFailure asks for a restart.
type probeFailure struct {
	message string
	grace   time.Duration
}

// probes of one run of a container.
type probes struct {
	failed chan probeFailure // startup and liveness
	// terminating ends startup and liveness probes; readiness goes on until
	// the process has ended.
	terminating context.CancelFunc
	cancel      context.CancelFunc
	running     sync.WaitGroup
}

func (p *probes) stop() {
	p.cancel()
	p.running.Wait()
}

// startProbes begins with the startup probe; the others follow its success.
func (c *container) startProbes(process *process.Process) *probes {
	p := &probes{failed: make(chan probeFailure, 2)}
	all, cancel := context.WithCancel(c.pod.hard)
	alive, terminating := context.WithCancel(all)
	p.cancel, p.terminating = cancel, terminating
	began := time.Now()

	follow := func() {
		c.upOnce.Do(func() { close(c.up) })
		if probe := c.spec.ReadinessProbe; probe != nil {
			p.running.Go(func() {
				c.probeLoop(all, "Readiness", probe, began, func(ok bool) bool {
					c.setReady(process, ok)
					return true
				})
			})
		}
		if probe := c.spec.LivenessProbe; probe != nil {
			p.running.Go(func() {
				c.probeLoop(alive, "Liveness", probe, began, func(ok bool) bool {
					if !ok {
						p.failed <- c.failure(probe, "liveness")
					}
					return ok
				})
			})
		}
	}
	probe := c.spec.StartupProbe
	if probe == nil {
		follow()
		return p
	}
	p.running.Go(func() {
		c.probeLoop(alive, "Startup", probe, began, func(ok bool) bool {
			if !ok {
				p.failed <- c.failure(probe, "startup")
				return false
			}
			c.locked(func() { c.started, c.ready = true, c.spec.ReadinessProbe == nil })
			follow()
			return false
		})
	})
	return p
}

func (c *container) failure(probe *corev1.Probe, kind string) probeFailure {
	grace := c.pod.graceLeft()
	if seconds := probe.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	return probeFailure{fmt.Sprintf("Container %s failed %s probe, will be restarted", c.spec.Name, kind), grace}
}

// setReady ignores a verdict about a process that has ended meanwhile.
func (c *container) setReady(process *process.Process, ok bool) {
	c.pod.mu.Lock()
	changed := c.process == process && c.ready != ok
	if changed {
		c.ready = ok
	}
	c.pod.mu.Unlock()
	if changed {
		c.pod.touch()
	}
}

// probeLoop probes until ctx ends or verdict returns false. It calls verdict
// at each probe that is beyond its threshold.
func (c *container) probeLoop(ctx context.Context, kind string, probe *corev1.Probe, began time.Time, verdict func(ok bool) bool) {
	period := time.Duration(max(1, probe.PeriodSeconds)) * time.Second
	delay := time.Until(began.Add(time.Duration(probe.InitialDelaySeconds) * time.Second))
	if delay > 0 && !sleep(ctx, delay) {
		return
	}
	var successes, failures int32
	for {
		err := c.probe(ctx, probe)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			successes, failures = 0, failures+1
			c.event(corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %v", kind, err))
		} else {
			successes, failures = successes+1, 0
		}
		reached := successes >= max(1, probe.SuccessThreshold) || failures >= max(1, probe.FailureThreshold)
		if reached && !verdict(err == nil) {
			return
		}
		if !sleep(ctx, period) {
			return
		}
	}
}
