package node

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// backOff doubles from an initial delay to a maximum, as the kubelet's for
// crashing containers does: the first restart is immediate, and a run of
// twice the maximum forgets the past.
type backOff struct {
	initial, maximum time.Duration
	delay            time.Duration // of the next wait; 0 at first
}

func newBackOff(o Options) *backOff { return &backOff{initial: o.BackOff, maximum: o.MaxBackOff} }

// next returns the delay to wait now and doubles it for the next time.
func (b *backOff) next(ran time.Duration) time.Duration {
	if ran > 2*b.maximum {
		b.delay = 0
	}
	now := b.delay
	b.delay = min(b.maximum, max(b.initial, 2*b.delay))
	return now
}

// backOff waits before the next run of a container that has ended; false when
// ctx ended first.
func (c *container) backOff(ctx context.Context, b *backOff, ran time.Duration) bool {
	delay := b.next(ran)
	if delay == 0 {
		return true
	}
	c.locked(func() {
		c.rotate()
		c.wait("CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
			delay, c.spec.Name, c.pod.object.Name, c.pod.object.Namespace, c.pod.uid))
	})
	message := fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)",
		c.spec.Name, c.pod.newest().Name, c.pod.newest().Namespace, c.pod.uid)
	return c.repeat(ctx, delay, func() { c.event(corev1.EventTypeWarning, "BackOff", message) })
}

// repeat says again that a container is held back, at each look of the kubelet
// at the pod, until the delay is over; false when ctx ended first.
func (c *container) repeat(ctx context.Context, delay time.Duration, say func()) bool {
	look := c.pod.agent.options.BackOff
	for left := delay; left > 0; left -= look {
		say()
		if !sleep(ctx, min(look, left)) {
			return false
		}
	}
	return true
}

// pullBackOff reports an image that cannot be pulled and waits; false when
// ctx ended first.
func (c *container) pullBackOff(ctx context.Context, b *backOff, cause error) bool {
	c.event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.spec.Image))
	c.event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", c.spec.Image, cause))
	c.event(corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
	c.locked(func() { c.wait("ErrImagePull", cause.Error()) })
	// Long enough for a watcher to see both reasons.
	if !sleep(ctx, b.initial/2) {
		return false
	}
	c.locked(func() {
		c.wait("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %v", c.spec.Image, cause))
	})
	return c.repeat(ctx, max(b.initial, b.next(0)), func() {
		c.event(corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", c.spec.Image))
		c.event(corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
	})
}
