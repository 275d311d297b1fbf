package generator

import (
	"fmt"
	"strings"

	"millrace.dev/millrace/workers/event"
)

// nodeNotReady: a node goes away. Its pods are not ready at once, evicted later, and
// created on other nodes.
func (s *script) nodeNotReady() {
	n := s.cluster.node(lostNode)
	pods := s.cluster.on(n)
	hit := pods[0].of
	s.plant("node-not-ready", lostNode+" stops answering; its pods are evicted and created on other nodes", n.ref(), hit.ref(), func(in *Incident) {
		root := s.state(s.at(nodeLost), "k8s.node.not_ready", event.SeverityError, n.ref(), "Kubelet stopped posting node status.")
		root.Attributes = append(root.Attributes, text("k8s.node.condition.reason", "NodeStatusUnknown"), text("k8s.node.condition.status", "Unknown"))
		in.RootEvent = root.GetId()
		s.kubernetes(s.at(nodeLost+0.4), n.ref(), "Normal", "NodeNotReady", "node-controller", "Node "+n.name+" status is now: NodeNotReady")
		for i, p := range pods {
			s.podState(s.at(nodeLost+1+0.1*float64(i)), "k8s.pod.not_ready", event.SeverityWarn, p, "the node of the pod does not answer",
				text("k8s.pod.condition.reason", "NodeNotReady"))
			s.kubernetes(s.at(nodeLost+1.05+0.1*float64(i)), p.ref(), "Warning", "NodeNotReady", "node-controller", "Node is not ready")
			if p.of.kind == "Deployment" {
				s.evict(p, nodeLost+40+0.3*float64(i), i)
				in.Affected = append(in.Affected, entity(p.of.ref()))
			}
		}
	})
}

// evict moves a pod of a Deployment to another node.
func (s *script) evict(p *pod, second float64, i int) {
	s.kubernetes(s.at(second), p.ref(), "Normal", "TaintManagerEviction", "taint-eviction-controller", "Marking for deletion Pod "+p.of.namespace+"/"+p.name)
	s.podState(s.at(second+0.1), "k8s.pod.evicted", event.SeverityWarn, p, "Taint manager: deleting due to NoExecute taint",
		text("k8s.pod.condition.reason", "DeletionByTaintManager"))
	p.deleting = s.at(second)
	to := s.cluster.nodes[(i*3+8)%len(s.cluster.nodes)]
	if to.name == lostNode {
		to = s.cluster.nodes[0]
	}
	s.start1(p.of, to, second+0.6)
}

// start1 creates a pod on a node, with what Kubernetes says about it.
func (s *script) start1(w *workload, on *node, second float64) *pod {
	p := s.create(w, on, second)
	s.kubernetes(s.at(second+0.2), p.ref(), "Normal", "Scheduled", "default-scheduler", fmt.Sprintf("Successfully assigned %s/%s to %s", w.namespace, p.name, on.name))
	s.kubernetes(s.at(second+1.1), p.ref(), "Normal", "Pulled", "kubelet", fmt.Sprintf("Container image %q already present on machine", p.by.image))
	s.kubernetes(s.at(second+1.4), p.ref(), "Normal", "Started", "kubelet", "Started container "+w.name)
	return p
}

func (s *script) create(w *workload, on *node, second float64) *pod {
	p := s.cluster.newPod(w, on, s.at(second))
	s.kubernetes(s.at(second), w.revisionRef(p.by), "Normal", "SuccessfulCreate", "replicaset-controller", "Created pod: "+p.name)
	return p
}

// on are the pods on a node.
func (c *cluster) on(n *node) (pods []*pod) {
	for _, p := range c.pods {
		if p.on == n {
			pods = append(pods, p)
		}
	}
	return pods
}

// badImage: a rollout to an image that the registry does not have.
func (s *script) badImage() {
	w := s.cluster.workload("thumbnailer")
	s.plant("image-pull", "thumbnailer is rolled out with an image that does not exist; its new pods never start", w.ref(), w.ref(), func(in *Incident) {
		image := strings.Replace(w.image, ":1.4.2", ":1.5.0-rc1", 1)
		w.revise(image, 4)
		root := s.state(s.at(imageRolled), "k8s.deployment.image_changed", event.SeverityInfo, w.ref(), "the images are now "+w.name+"="+image,
			number("k8s.deployment.generation", 12), number("k8s.deployment.replicas", int64(w.replicas)), text("k8s.deployment.images", w.name+"="+image))
		in.RootEvent = root.GetId()
		s.kubernetes(s.at(imageRolled+0.3), w.ref(), "Normal", "ScalingReplicaSet", "deployment-controller", "Scaled up replica set "+w.revision.name+" from 0 to 4")
		for i := range 4 {
			s.cannotPull(w, s.cluster.nodes[i*4], imageRolled+0.8+0.5*float64(i))
		}
		s.kubernetes(s.at(imageRolled+300), w.ref(), "Warning", "ProgressDeadlineExceeded", "deployment-controller",
			fmt.Sprintf("ReplicaSet %q has timed out progressing.", w.revision.name))
		in.Affected = append(in.Affected, entity(w.serviceRef()))
	})
}

func (s *script) cannotPull(w *workload, on *node, second float64) {
	p := s.create(w, on, second)
	p.phase, p.reason = "Pending", "ImagePullBackOff"
	image := p.by.image
	s.kubernetes(s.at(second+0.2), p.ref(), "Normal", "Scheduled", "default-scheduler", fmt.Sprintf("Successfully assigned %s/%s to %s", w.namespace, p.name, on.name))
	for i := range 4 {
		try := second + 1 + 25*float64(i*i)
		s.kubernetes(s.at(try), p.ref(), "Normal", "Pulling", "kubelet", fmt.Sprintf("Pulling image %q", image))
		s.kubernetes(s.at(try+1.2), p.ref(), "Warning", "Failed", "kubelet", fmt.Sprintf("Failed to pull image %q: rpc error: code = NotFound desc = failed to pull and unpack image: not found", image))
		s.kubernetes(s.at(try+1.3), p.ref(), "Warning", "Failed", "kubelet", "Error: ErrImagePull")
		s.kubernetes(s.at(try+14), p.ref(), "Normal", "BackOff", "kubelet", fmt.Sprintf("Back-off pulling image %q", image))
		s.kubernetes(s.at(try+14.1), p.ref(), "Warning", "Failed", "kubelet", "Error: ImagePullBackOff")
	}
	e := s.podState(s.at(second+3), "k8s.pod.image_pull_back_off", event.SeverityError, p,
		fmt.Sprintf("container %s waits: Back-off pulling image %q", w.name, image),
		text("k8s.container.status.reason", "ImagePullBackOff"), text("container.image.name", image), number("k8s.container.restart_count", 0))
	e.Resource = append(e.Resource, text("k8s.container.name", w.name))
}

// badConfig: a new configuration makes the program end right after its start.
func (s *script) badConfig() {
	w := s.cluster.workload("indexer")
	s.plant("config-crash-loop", "indexer gets a configuration that it refuses; its new pods crash again and again", w.ref(), w.ref(), func(in *Incident) {
		old := w.revision
		w.revise(w.image, 3)
		root := s.state(s.at(configSet), "k8s.deployment.config_changed", event.SeverityInfo, w.ref(), "the specification has changed, apart from images and replicas",
			number("k8s.deployment.generation", 31), number("k8s.deployment.replicas", int64(w.replicas)), text("k8s.deployment.images", w.name+"="+w.image))
		in.RootEvent = root.GetId()
		s.kubernetes(s.at(configSet+0.3), w.ref(), "Normal", "ScalingReplicaSet", "deployment-controller", "Scaled up replica set "+w.revision.name+" from 0 to 3")
		s.kubernetes(s.at(configSet+0.5), w.ref(), "Normal", "ScalingReplicaSet", "deployment-controller", fmt.Sprintf("Scaled down replica set %s from %d to %d", old.name, w.replicas, w.replicas-1))
		for i := range 3 {
			p := s.start1(w, s.cluster.nodes[i*5+1], configSet+0.9+0.4*float64(i))
			s.crash(p, configSet+3+0.4*float64(i))
		}
	})
}

// crash is a container that ends after each start.
func (s *script) crash(p *pod, second float64) {
	container := text("k8s.container.name", p.of.name)
	for i, after := range []float64{0, 12, 35, 80} {
		at := second + after
		s.log(s.at(at), p, event.SeverityFatal, "main", "ConfigError",
			`panic: parse /etc/indexer/config.json: unexpected end of JSON input at byte 736481; goroutine 1 [running]: main.main() /src/main.go:41`)
		if i == 0 {
			continue
		}
		e := s.podState(s.at(at+0.8), "k8s.pod.restarted", event.SeverityWarn, p,
			fmt.Sprintf("container %s has restarted, %d times by now, after it ended with Error (exit code 2)", p.of.name, i),
			text("k8s.container.status.last_terminated_reason", "Error"), number("k8s.container.exit_code", 2), number("k8s.container.restart_count", int64(i)))
		e.Resource = append(e.Resource, container)
		s.kubernetes(s.at(at+1.4), p.ref(), "Warning", "BackOff", "kubelet",
			fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", p.of.name, p.name, p.of.namespace, p.uid))
		e = s.podState(s.at(at+1.8), "k8s.pod.crash_loop_back_off", event.SeverityError, p,
			fmt.Sprintf("container %s waits: back-off restarting failed container=%s pod=%s_%s(%s)", p.of.name, p.of.name, p.name, p.of.namespace, p.uid),
			text("k8s.container.status.reason", "CrashLoopBackOff"), number("k8s.container.restart_count", int64(i)))
		e.Resource = append(e.Resource, container)
	}
	p.restarts, p.reason = 3, "CrashLoopBackOff"
}

// tooLarge: a Deployment is scaled to more pods than the nodes have CPU for.
func (s *script) tooLarge() {
	w := s.cluster.workload("batch-report")
	s.plant("unschedulable", "batch-report is scaled from 4 to 16 replicas; 10 of the new pods find no node with enough CPU", w.ref(), w.ref(), func(in *Incident) {
		root := s.state(s.at(scaledUp), "k8s.deployment.scaled", event.SeverityInfo, w.ref(), "scaled from 4 to 16 replicas",
			number("k8s.deployment.generation", 8), number("k8s.deployment.replicas", 16), text("k8s.deployment.images", w.name+"="+w.image),
			number("k8s.deployment.previous_replicas", 4))
		in.RootEvent = root.GetId()
		w.replicas, w.revision.replicas = 16, 16
		s.kubernetes(s.at(scaledUp+0.2), w.ref(), "Normal", "ScalingReplicaSet", "deployment-controller", "Scaled up replica set "+w.revision.name+" from 4 to 16")
		const note = "0/20 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 19 Insufficient cpu. preemption: 0/20 nodes are available: 20 No preemption victims found for incoming pod."
		for i := range 12 {
			second := scaledUp + 0.6 + 0.2*float64(i)
			if i < 2 {
				s.start1(w, s.cluster.nodes[i], second)
				continue
			}
			p := s.create(w, nil, second)
			for j := range 3 {
				s.kubernetes(s.at(second+0.5+30*float64(j)), p.ref(), "Warning", "FailedScheduling", "default-scheduler", note)
			}
			s.podState(s.at(second+0.6), "k8s.pod.unschedulable", event.SeverityWarn, p, note, text("k8s.pod.condition.reason", "Unschedulable"))
		}
	})
}
