package kubernetes

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// Store is the compact copy of a cluster. Its methods may be called from any goroutine.
type Store struct {
	now         func() time.Time
	keepDeleted time.Duration
	began       int64 // Unix nanoseconds: what ended before is not known

	mu         sync.RWMutex
	pods       map[string]*pod // by uid
	podNames   map[objectName]*pod
	static     map[string]*pod // static pods by the uid that the kubelet gives them
	addresses  map[netip.Addr]*address
	nodes      map[string]*node
	nodeID     map[string]*node // by uid
	workloads  map[workloadName]*workload
	workloadID map[string]*workload // by uid
	serviceID  map[string]*service  // by uid
	namespaces map[string]*namespace
	deleted    []tombstone // in the order of their time
}

// text is a string that many objects share; equal ones are kept once.
type text = unique.Handle[string]

func intern(s string) text { return unique.Make(s) }

type objectName struct {
	namespace text
	name      string
}

type workloadName struct {
	namespace text
	kind      text
	name      string
}

type label struct{ key, value text }

// pod is one incarnation of a pod.
type pod struct {
	uid, name string
	namespace *namespace
	node      *node // nil before it is scheduled
	// controller is the direct owner, and workload where the pod counts: the controller, or what is
	// above a ReplicaSet. Both are nil without an owner, and for static pods.
	controller, workload *workload
	controllerUID        string  // the controller's record may be another one of that name by now
	staticUID            string  // what the kubelet calls a static pod; empty for others
	labels               []label // sorted by key
	services             []*service
	// serviceName and criticality are what the pod's annotations or labels say.
	serviceName, criticality text

	// ips are its addresses in up to two families; none on the host's network. The addresses
	// themselves are leased while the pod runs.
	ips [2]netip.Addr
	// created and started are Unix nanoseconds; started is 0 until a kubelet has taken it.
	created, started int64
	// ended is when it was deleted, in Unix nanoseconds; 0 = it exists.
	ended    atomic.Int64
	finished bool // its containers have ended for good
	// hadIPv4 and hadIPv6 tell whether it has or had an address of the family.
	hadIPv4, hadIPv6 bool
	previous         *pod // the last one of the same name, while it is kept
}

// counts tells whether the pod is part of the cluster's capacity.
func (p *pod) counts() bool { return !p.finished && p.ended.Load() == 0 }

type node struct {
	name, uid  string
	pods       map[*pod]struct{} // those that count
	references int               // pods that point here, also those that ended
	known      bool              // seen itself, not only named by a pod
	ended      atomic.Int64
}

// workload is a controller of pods, or one named by a pod.
type workload struct {
	workloadName
	namesake    *workload // the next one of this name, of another API group
	uid         string
	apiVersion  text
	criticality text
	parent      *ownerName // its own controller, as the object or the label of a pod says
	pods        int        // pods that count
	references  int        // pods that point here, also those that ended
	namedBy     int64      // when the pod was created that told the uid; of no use when known
	known       bool
	ended       atomic.Int64
}

type ownerName struct{ kind, name, uid, apiVersion string }

type namespace struct {
	text        text
	uid         string
	criticality text
	pods        map[*pod]struct{}
	services    map[string]*service
	references  int  // pods that point here, also those that ended
	known       bool // seen itself, not only named by others
}

type service struct {
	name, uid   string
	namespace   *namespace
	selector    []label
	criticality text
	pods        int // pods that count
}

// tombstone is a deleted object that still answers until its time is over, or an address that a
// pod has no longer.
type tombstone struct {
	at       int64
	pod      *pod
	ip       netip.Addr // valid: the pod goes on without this address
	workload *workload
	node     *node
}

// NewStore makes an empty store that keeps deleted objects for keepDeleted.
func NewStore(now func() time.Time, keepDeleted time.Duration) *Store {
	return &Store{
		now: now, keepDeleted: keepDeleted, began: now().UnixNano(),
		pods: map[string]*pod{}, podNames: map[objectName]*pod{}, static: map[string]*pod{},
		addresses: map[netip.Addr]*address{}, nodes: map[string]*node{}, nodeID: map[string]*node{},
		workloads: map[workloadName]*workload{}, workloadID: map[string]*workload{},
		serviceID: map[string]*service{}, namespaces: map[string]*namespace{},
	}
}

// Pods returns the number of pods, deleted ones that are kept included.
func (s *Store) Pods() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.pods)
}

// namespace returns the record of a namespace; s.mu is held.
func (s *Store) namespace(name string) *namespace {
	n := s.namespaces[name]
	if n == nil {
		n = &namespace{text: intern(name), criticality: intern(""), pods: map[*pod]struct{}{}, services: map[string]*service{}}
		s.namespaces[n.text.Value()] = n
	}
	return n
}

// node returns the record of a node; s.mu is held.
func (s *Store) node(name string) *node {
	n := s.nodes[name]
	if n == nil {
		n = &node{name: name, pods: map[*pod]struct{}{}}
		s.nodes[name] = n
	}
	return n
}

// workload returns the record of a workload; s.mu is held.
func (s *Store) workload(namespace text, apiVersion, kind, name string) *workload {
	key := workloadName{namespace, intern(kind), name}
	head := s.workloads[key]
	for w := head; w != nil; w = w.namesake {
		if sameGroup(w.apiVersion.Value(), apiVersion) {
			return w
		}
	}
	w := &workload{workloadName: key, namesake: head, apiVersion: intern(apiVersion), criticality: intern("")}
	s.workloads[key] = w
	return w
}

// workloadNamed returns the workload of a name, or nil. Without an apiVersion it may be of any group,
// of the usual one if there is one.
func (s *Store) workloadNamed(namespace, apiVersion, kind, name string) *workload {
	if apiVersion == "" {
		if usual := s.workloadNamed(namespace, apiVersionOf(kind), kind, name); usual != nil {
			return usual
		}
	}
	w := s.workloads[workloadName{intern(namespace), intern(kind), name}]
	for w != nil && !sameGroup(w.apiVersion.Value(), apiVersion) {
		w = w.namesake
	}
	return w
}

// sameGroup tells whether two apiVersions are of one API group, whatever the version. One that is
// empty says nothing.
func sameGroup(a, b string) bool { return a == b || a == "" || b == "" || group(a) == group(b) }

// group is the API group of an apiVersion; empty for the core.
func group(apiVersion string) string {
	name, _, ok := strings.Cut(apiVersion, "/")
	switch {
	case !ok:
		return ""
	case name == "extensions": // where Deployments, ReplicaSets and DaemonSets were once
		return "apps"
	}
	return name
}
