package generator

import (
	"encoding/json"
	"fmt"
	"time"
)

// object is a Kubernetes object as JSON; encoding/json sorts the members.
type object = map[string]any

// snapshot is the cluster at the end of the story, as
//
//	kubectl get nodes,namespaces,deployments,statefulsets,daemonsets,replicasets,pods,services -A -o json
//
// prints it, as far as readers of context need it.
func (c *cluster) snapshot() ([]byte, error) {
	var items []object
	for _, name := range append([]string{"kube-system"}, c.namespaces...) {
		items = append(items, c.object("v1", "Namespace", "", name, uid("Namespace", name), object{"kubernetes.io/metadata.name": name}, nil))
	}
	for _, n := range c.nodes {
		items = append(items, c.nodeObject(n))
	}
	for _, w := range c.workloads {
		items = append(items, c.workloadObjects(w)...)
	}
	for _, p := range c.pods {
		items = append(items, c.podObject(p))
	}
	list, err := json.MarshalIndent(object{"apiVersion": "v1", "kind": "List", "metadata": object{"resourceVersion": ""}, "items": items}, "", " ")
	return append(list, '\n'), err
}

func (c *cluster) object(apiVersion, kind, namespace, name, uid string, labels, owner object) object {
	meta := object{"name": name, "uid": uid, "creationTimestamp": stamp(c.began.Add(-90 * 24 * time.Hour)), "resourceVersion": "1000"}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	if len(labels) > 0 {
		meta["labels"] = labels
	}
	if owner != nil {
		meta["ownerReferences"] = []object{owner}
	}
	return object{"apiVersion": apiVersion, "kind": kind, "metadata": meta}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (c *cluster) nodeObject(n *node) object {
	o := c.object("v1", "Node", "", n.name, n.uid, object{
		"kubernetes.io/hostname": n.name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "zone-" + string('a'+rune(n.name[len(n.name)-1])%3),
	}, nil)
	ready := "True"
	if n.name == lostNode {
		ready = "Unknown"
	}
	o["status"] = object{
		"addresses":  []object{{"type": "InternalIP", "address": n.ip}},
		"capacity":   object{"cpu": "16", "memory": "64Gi", "pods": "110"},
		"conditions": []object{{"type": "Ready", "status": ready}},
	}
	return o
}

// labels of a workload's pods.
func (w *workload) labels() object {
	return object{"app.kubernetes.io/name": w.name, "app.kubernetes.io/part-of": w.namespace}
}

func (w *workload) workloadObject(c *cluster) object {
	o := c.object("apps/v1", w.kind, w.namespace, w.name, w.uid, w.labels(), nil)
	o["metadata"].(object)["annotations"] = object{"resource.opentelemetry.io/service.criticality": w.critical}
	o["spec"] = object{
		"replicas": w.replicas, "selector": object{"matchLabels": w.labels()},
		"template": object{"metadata": object{"labels": w.labels()}, "spec": object{"containers": []object{w.container(w.revision.image)}}},
	}
	return o
}

func (w *workload) container(image string) object {
	return object{
		"name": w.name, "image": image,
		"resources": object{"limits": object{"memory": fmt.Sprintf("%dMi", int(w.memoryLimit/mebi))}},
	}
}

func (c *cluster) workloadObjects(w *workload) []object {
	all := []object{w.workloadObject(c)}
	for _, r := range w.revisions {
		if r.kind != "ReplicaSet" {
			continue
		}
		o := c.object("apps/v1", "ReplicaSet", w.namespace, r.name, r.uid, w.podLabels(r), owner("Deployment", w.name, w.uid))
		o["spec"] = object{"replicas": r.replicas}
		all = append(all, o)
	}
	if w.port != 0 {
		ref := w.serviceRef()
		o := c.object("v1", "Service", w.namespace, w.name, ref.GetUid(), w.labels(), nil)
		o["spec"] = object{
			"selector": w.labels(), "clusterIP": w.clusterIP, "clusterIPs": []string{w.clusterIP}, "type": "ClusterIP",
			"ports": []object{{"name": "main", "port": w.port, "protocol": "TCP"}},
		}
		all = append(all, o)
	}
	return all
}

func (w *workload) podLabels(r *revision) object {
	labels := w.labels()
	if r.hash != "" {
		labels["pod-template-hash"] = r.hash
	}
	return labels
}

func owner(kind, name, uid string) object {
	return object{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true}
}

func (c *cluster) podObject(p *pod) object {
	o := c.object("v1", "Pod", p.of.namespace, p.name, p.uid, p.of.podLabels(p.by), owner(p.by.kind, p.by.name, p.by.uid))
	meta := o["metadata"].(object)
	meta["creationTimestamp"] = stamp(p.created)
	if !p.deleting.IsZero() {
		meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = stamp(p.deleting.Add(30*time.Second)), 30
	}
	spec := object{"containers": []object{p.of.container(p.by.image)}}
	status := object{"phase": p.phase}
	if p.on != nil {
		spec["nodeName"] = p.on.name
		status["hostIP"], status["podIP"], status["podIPs"] = p.on.ip, p.ip, []object{{"ip": p.ip}}
		status["startTime"] = stamp(p.created.Add(time.Second))
	}
	state := object{"running": object{"startedAt": stamp(p.created.Add(2 * time.Second))}}
	if p.reason != "" {
		state = object{"waiting": object{"reason": p.reason}}
	}
	if p.on != nil {
		status["containerStatuses"] = []object{{
			"name": p.of.name, "image": p.by.image, "ready": p.reason == "" && p.phase == "Running", "restartCount": p.restarts, "state": state,
		}}
	}
	o["spec"], o["status"] = spec, status
	return o
}
