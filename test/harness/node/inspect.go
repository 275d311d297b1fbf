package node

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"millrace.dev/millrace/test/harness/process"
)

// Pid of the process that runs a container now. It leads a process group.
// The error says when there is none, for instance during a back-off.
func (a *Agent) Pid(namespace, pod, container string) (int, error) {
	c := a.find(namespace, pod, container)
	if c == nil {
		return 0, fmt.Errorf("container %s of pod %s/%s is not on this agent", container, namespace, pod)
	}
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	if c.process == nil || !c.process.Running() {
		return 0, fmt.Errorf("container %s of pod %s/%s does not run", container, namespace, pod)
	}
	return c.process.Pid(), nil
}

func (a *Agent) find(namespace, pod, name string) *container {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.byUID {
		if o := p.newest(); o.Namespace != namespace || o.Name != pod {
			continue
		}
		for _, c := range p.all() {
			if c.spec.Name == name {
				return c
			}
		}
	}
	return nil
}

// Log returns stdout and stderr of the newest process of a container, also
// when its pod is gone.
func (a *Agent) Log(namespace, pod, container string) (string, error) {
	path, ok := a.logFile(namespace, pod, container)
	if !ok {
		return "", fmt.Errorf("container %s of pod %s/%s has not run", container, namespace, pod)
	}
	content, err := os.ReadFile(path)
	return string(content), err
}

// Logs returns the last n bytes of the newest log of every container that
// ever ran, with its path.
func (a *Agent) Logs(n int64) string {
	a.mu.Lock()
	logs := maps.Clone(a.logs)
	a.mu.Unlock()
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(logs)) {
		fmt.Fprintf(&b, "== %s (%s)\n%s\n", key, logs[key], process.Tail(logs[key], n))
	}
	return b.String()
}

func (a *Agent) noteLog(c *container, path string) {
	o := c.pod.newest()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logs[logKey(o.Namespace, o.Name, c.spec.Name)] = path
}

func (a *Agent) logFile(namespace, pod, container string) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	path, ok := a.logs[logKey(namespace, pod, container)]
	return path, ok
}

func logKey(namespace, pod, container string) string { return namespace + "/" + pod + "/" + container }

// StopNode crashes a node: its processes are killed, nobody reports for it,
// and it and its pods are marked as the node lifecycle controller would mark
// them after 40 s. Its pods stay in the API until they are deleted by force
// (or, here, until ResumeNode); the 300 s eviction is not simulated.
func (a *Agent) StopNode(ctx context.Context, name string) error {
	a.mu.Lock()
	a.stopped[name] = true
	var crashed []*pod
	for _, p := range a.byUID {
		if p.newest().Spec.NodeName == name {
			p.end(errCrashed)
			crashed = append(crashed, p)
		}
	}
	a.mu.Unlock()
	for _, p := range crashed {
		<-p.over
	}
	if err := a.setReady(ctx, name, false); err != nil {
		return fmt.Errorf("stop node %s: %w", name, err)
	}
	return a.markUnready(ctx, name)
}

// ResumeNode brings a stopped node back; its pods run again, with one restart
// more.
func (a *Agent) ResumeNode(ctx context.Context, name string) error {
	a.mu.Lock()
	delete(a.stopped, name)
	a.mu.Unlock()
	if err := a.setReady(ctx, name, true); err != nil {
		return fmt.Errorf("resume node %s: %w", name, err)
	}
	pods, err := a.podsOf(ctx, name)
	if err != nil {
		return fmt.Errorf("resume node %s: %w", name, err)
	}
	for i := range pods {
		a.changed(&pods[i])
	}
	return nil
}

func (a *Agent) podsOf(ctx context.Context, node string) ([]corev1.Pod, error) {
	list, err := a.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (a *Agent) markUnready(ctx context.Context, node string) error {
	pods, err := a.podsOf(ctx, node)
	if err != nil {
		return err
	}
	for i := range pods {
		if finished(&pods[i]) {
			continue
		}
		if err := a.markPodUnready(ctx, pods[i].Namespace, pods[i].Name); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// markPodUnready tries again when somebody else has written to the pod meanwhile: a controller does.
func (a *Agent) markPodUnready(ctx context.Context, namespace, name string) error {
	pods := a.client.CoreV1().Pods(namespace)
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		p, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		setCondition(&p.Status, corev1.PodCondition{
			Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "NodeNotReady",
		})
		_, err = pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
		return err
	})
}
