package generator

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// cluster is what the events are about.
type cluster struct {
	began      time.Time // of the story
	nodes      []*node
	namespaces []string
	workloads  []*workload
	pods       []*pod // all, also those that come and go in the story
	steady     []*pod // those that are there from beginning to end
}

type node struct{ name, uid, ip string }

type workload struct {
	kind, namespace, name, uid string
	replicas                   int
	image                      string
	port                       int // 0 = it does not listen
	memory, memoryLimit        float64
	cpu                        float64
	latency                    float64 // p95 in milliseconds
	calls                      []*workload
	revision                   *revision
	revisions                  []*revision
	pods                       []*pod
	clusterIP                  string
	critical                   string
}

// revision is a ReplicaSet, or the workload itself for other kinds.
type revision struct {
	kind, name, uid, hash, image string
	replicas                     int
}

type pod struct {
	of            *workload
	by            *revision
	name, uid, ip string
	on            *node
	created       time.Time
	phase         string // Running, Pending or Failed
	reason        string // why a container waits, for Kubernetes
	restarts      int
	deleting      time.Time
}

// plan is the table of workloads.
var plan = []struct {
	namespace, name, kind string
	replicas, port        int
	memoryMi, limitMi     float64
	cpu, latency          float64
	calls                 string
	critical              string
}{
	{"shop", "frontend", "Deployment", 50, 8080, 220, 512, 0.30, 80, "cart catalog recommendations search-api auth", "high"},
	{"shop", "cart", "Deployment", 24, 8080, 250, 512, 0.20, 25, "redis", "high"},
	{"shop", "checkout", "Deployment", 24, 8080, 260, 512, 0.20, 120, "cart gateway notifications", "critical"},
	{"shop", "catalog", "Deployment", 40, 8080, 300, 640, 0.25, 35, "postgres redis", "medium"},
	{"shop", "recommendations", "Deployment", 20, 8080, 420, 1024, 0.50, 90, "catalog feature-flags", "low"},
	{"payments", "gateway", "Deployment", 24, 8443, 240, 512, 0.20, 60, "ledger fraud", "critical"},
	{"payments", "ledger", "Deployment", 16, 8080, 280, 512, 0.20, 40, "postgres", "critical"},
	{"payments", "fraud", "Deployment", 14, 8080, 500, 1024, 0.60, 70, "feature-flags", "high"},
	{"search", "search-api", "Deployment", 30, 8080, 310, 640, 0.40, 55, "suggest metrics-store", "high"},
	{"search", "indexer", "Deployment", 12, 0, 450, 1024, 0.70, 0, "search-api kafka-bridge", "low"},
	{"search", "suggest", "Deployment", 20, 8080, 200, 512, 0.20, 15, "redis", "low"},
	{"media", "thumbnailer", "Deployment", 16, 8080, 380, 768, 0.80, 150, "uploader", "low"},
	{"media", "uploader", "Deployment", 16, 8080, 230, 512, 0.20, 95, "auth", "medium"},
	{"media", "cdn-origin", "Deployment", 24, 8080, 180, 512, 0.10, 10, "thumbnailer", "medium"},
	{"platform", "auth", "Deployment", 40, 8443, 210, 512, 0.30, 20, "redis config-service", "critical"},
	{"platform", "config-service", "Deployment", 10, 8080, 130, 256, 0.05, 8, "postgres", "medium"},
	{"platform", "notifications", "Deployment", 20, 8080, 160, 384, 0.10, 45, "kafka-bridge", "low"},
	{"platform", "feature-flags", "Deployment", 10, 8080, 110, 256, 0.05, 5, "", "medium"},
	{"platform", "log-agent", "DaemonSet", 20, 0, 90, 256, 0.10, 0, "", "low"},
	{"data", "postgres", "StatefulSet", 6, 5432, 900, 2048, 0.90, 6, "", "critical"},
	{"data", "redis", "Deployment", 16, 6379, 350, 768, 0.20, 1, "", "high"},
	{"data", "kafka-bridge", "Deployment", 16, 9092, 400, 768, 0.30, 12, "", "medium"},
	{"data", "batch-report", "Deployment", 4, 0, 600, 1024, 1.50, 0, "postgres warehouse-sync", "low"},
	{"data", "warehouse-sync", "Deployment", 12, 8080, 330, 768, 0.40, 200, "postgres", "low"},
	{"data", "metrics-store", "Deployment", 16, 9090, 800, 2048, 0.60, 30, "", "medium"},
}

// lostNode is the node that goes away. The workloads of other incidents are not on it, so
// that every incident stands alone.
const lostNode = "worker-07"

var apartFromLostNode = map[string]bool{"cart": true, "thumbnailer": true, "indexer": true, "ledger": true, "batch-report": true}

const mebi = 1 << 20

func newCluster(began time.Time) *cluster {
	c := &cluster{began: began}
	for i := range 20 {
		name := fmt.Sprintf("worker-%02d", i+1)
		c.nodes = append(c.nodes, &node{name: name, uid: uid("node", name), ip: fmt.Sprintf("10.0.0.%d", i+10)})
	}
	for i, p := range plan {
		if len(c.namespaces) == 0 || c.namespaces[len(c.namespaces)-1] != p.namespace {
			c.namespaces = append(c.namespaces, p.namespace)
		}
		w := &workload{
			kind: p.kind, namespace: p.namespace, name: p.name, uid: uid(p.kind, p.namespace, p.name), replicas: p.replicas,
			image: "registry.example.com/" + p.namespace + "/" + p.name + ":1.4.2", port: p.port, memory: p.memoryMi * mebi,
			memoryLimit: p.limitMi * mebi, cpu: p.cpu, latency: p.latency, critical: p.critical,
			clusterIP: fmt.Sprintf("10.96.%d.%d", i/200, i%200+10),
		}
		w.revise(w.image, w.replicas)
		c.workloads = append(c.workloads, w)
	}
	for i, p := range plan {
		for name := range strings.FieldsSeq(p.calls) {
			c.workloads[i].calls = append(c.workloads[i].calls, c.workload(name))
		}
	}
	c.place()
	c.steady = append(c.steady, c.pods...)
	return c
}

// place puts the pods on the nodes, in turns.
func (c *cluster) place() {
	turn := 0
	for _, w := range c.workloads {
		for i := range w.replicas {
			on := c.nodes[turn%len(c.nodes)]
			if apartFromLostNode[w.name] && on.name == lostNode {
				turn++
				on = c.nodes[turn%len(c.nodes)]
			}
			if w.kind == "DaemonSet" {
				on = c.nodes[i]
			}
			turn++
			c.newPod(w, on, c.began.Add(-time.Duration(1+turn%72)*time.Hour))
		}
	}
}

// newPod adds a pod; on is nil while it is pending.
func (c *cluster) newPod(w *workload, on *node, created time.Time) *pod {
	n := len(c.pods)
	p := &pod{of: w, by: w.revision, on: on, created: created, phase: "Running", ip: fmt.Sprintf("10.244.%d.%d", n/200, n%200+10)}
	switch w.kind {
	case "StatefulSet":
		p.name = fmt.Sprintf("%s-%d", w.name, len(w.pods))
	case "DaemonSet":
		p.name = w.name + "-" + suffix(w.name, n)
	default:
		p.name = w.revision.name + "-" + suffix(w.name, n)
	}
	p.uid = uid("Pod", w.namespace, p.name)
	if on == nil {
		p.phase, p.ip = "Pending", ""
	}
	w.pods = append(w.pods, p)
	c.pods = append(c.pods, p)
	return p
}

// revise gives the workload a new revision, as a rollout does.
func (w *workload) revise(image string, replicas int) {
	w.revision = &revision{kind: w.kind, name: w.name, uid: w.uid, image: image, replicas: replicas}
	if w.kind == "Deployment" {
		w.revision.hash = hash32(fmt.Sprint(w.namespace, w.name, image, len(w.revisions)))
		w.revision.kind, w.revision.name = "ReplicaSet", w.name+"-"+w.revision.hash
		w.revision.uid = uid("ReplicaSet", w.namespace, w.revision.name)
	}
	w.revisions = append(w.revisions, w.revision)
}

func (c *cluster) workload(name string) *workload {
	for _, w := range c.workloads {
		if w.name == name {
			return w
		}
	}
	panic("generator: no workload " + name) // a slip in the table
}

func (c *cluster) node(name string) *node {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	panic("generator: no node " + name)
}

func (w *workload) ref() *eventv1.EntityRef {
	return &eventv1.EntityRef{Kind: w.kind, Namespace: w.namespace, Name: w.name, Uid: w.uid, ApiVersion: "apps/v1"}
}

func (w *workload) serviceRef() *eventv1.EntityRef {
	return &eventv1.EntityRef{Kind: "Service", Namespace: w.namespace, Name: w.name, Uid: uid("Service", w.namespace, w.name), ApiVersion: "v1"}
}

func (w *workload) revisionRef(r *revision) *eventv1.EntityRef {
	return &eventv1.EntityRef{Kind: r.kind, Namespace: w.namespace, Name: r.name, Uid: r.uid, ApiVersion: "apps/v1"}
}

func (p *pod) ref() *eventv1.EntityRef {
	return &eventv1.EntityRef{Kind: "Pod", Namespace: p.of.namespace, Name: p.name, Uid: p.uid, ApiVersion: "v1"}
}

func (n *node) ref() *eventv1.EntityRef {
	return &eventv1.EntityRef{Kind: "Node", Name: n.name, Uid: n.uid, ApiVersion: "v1"}
}

// uid is a UUID made of a name.
func uid(parts ...string) string {
	h := fnv.New128a()
	_, _ = h.Write([]byte(strings.Join(parts, "/")))
	b := h.Sum(nil)
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// suffix is the random-looking end of a pod's name.
func suffix(name string, n int) string { return hash32(fmt.Sprint(name, "#", n))[:5] }

// hash32 spells a hash in the letters that Kubernetes uses.
func hash32(s string) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	n, out := h.Sum64(), make([]byte, 10)
	for i := range out {
		out[i] = letters[n%uint64(len(letters))]
		n /= uint64(len(letters))
	}
	return string(out)
}
