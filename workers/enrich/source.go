package enrich

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/event"
)

// Status is how a look-up ended; the value of Enrichment.status.
type Status string

// The statuses.
const (
	StatusOK   Status = "ok"
	StatusMiss Status = "miss"
	// StatusStale is an answer, or none, of a source that has lost its cluster.
	StatusStale Status = "stale"
	// StatusTimeout is no answer, because the source is not synchronised yet.
	StatusTimeout Status = "timeout"
)

// Source answers what Kubernetes knows about an entity. Find is called from several
// goroutines and must not block.
type Source interface {
	// Start makes the source ready. It may wait for a first synchronisation, but not for
	// ever: a source that is not ready answers StatusTimeout. An error stops the worker.
	Start(ctx context.Context, s SourceSettings) error
	// Find resolves q; no facts when the entity is not known. StatusOK and StatusMiss are
	// what a source says that is up to date, StatusStale and StatusTimeout one that is not.
	Find(q Query) (*Facts, Status)
	// Shutdown ends what Start began.
	Shutdown(ctx context.Context) error
}

// SourceSettings are what the stage gives a source.
type SourceSettings struct {
	Log     *slog.Logger
	Now     func() time.Time
	Metrics prometheus.Registerer
	// KeepDeleted is how long a deleted object still answers look-ups.
	KeepDeleted time.Duration
}

// Query names an entity: by UID, or by Kind, Namespace and Name, or a pod by IP. The first
// that is set decides. Its strings are valid only during the call.
type Query struct {
	Kind, Namespace, Name, UID string
	// APIVersion is the group and version of the kind, as in apps/v1. An object of another group is
	// another object; empty = of any group.
	APIVersion string
	// IP is a pod IP.
	IP string
	// At is the time that the answer should hold for, in Unix nanoseconds; 0 = now.
	At int64
}

// Facts are what a source knows about one entity. They are values of the time of the
// look-up, shared by all who asked: nobody writes to them.
type Facts struct {
	// Entity is the entity itself, fully named.
	Entity event.EntityRef
	// Pod has more about a pod; nil for everything else.
	Pod *PodFacts
	// Owners are the controllers, nearest first. Workload is the topmost one.
	Owners   []event.EntityRef
	Workload event.EntityRef
	// WorkloadGuessed is true when the topmost owner follows from a name alone.
	WorkloadGuessed bool
	Node            event.EntityRef
	Services        []event.EntityRef

	// ServiceName is what the annotation resource.opentelemetry.io/service.name or a label
	// says; empty when the name must be derived from the workload.
	ServiceName string
	// Criticality is service.criticality as the pod, its workload or its namespace say it;
	// empty when nobody does.
	Criticality string
	// ClusterUID identifies the cluster: the uid of namespace kube-system.
	ClusterUID string

	Radius Radius
	// Valid says for which event times these facts answer the query that they came from.
	Valid Validity
}

// PodFacts are the attributes of a pod.
type PodFacts struct {
	IP string
	// Start is when the kubelet took the pod, in Unix nanoseconds; 0 = not yet.
	Start  int64
	Labels []Label
}

// Label is one label of an object.
type Label struct{ Key, Value string }

// Radius is what breaks when the entity breaks.
type Radius struct {
	// Pods is how many pods are affected: the pod itself, the workload's, the node's, those
	// behind the service.
	Pods int
	// Share is the part of a workload's pods that is affected, 0..1: of the pod's own
	// workload, or of the worst hit one on a node.
	Share float64
	// ShareOf is the workload that Share is about, and SharePods its number of pods.
	ShareOf   event.EntityRef
	SharePods int
}

// Validity is a span of event time: from From until the end that may still come. The zero
// value is valid always.
type Validity struct {
	From int64
	// Until is set by the source when the end comes; 0 = open.
	Until *atomic.Int64
}

// Holds tells whether the span contains at; at 0 is now, which an ended span does not contain.
func (v Validity) Holds(at int64) bool {
	if v.Until == nil {
		return true
	}
	until := v.Until.Load()
	if at == 0 {
		return until == 0
	}
	return at >= v.From && (until == 0 || at < until)
}
