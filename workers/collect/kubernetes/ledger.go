package kubernetes

import (
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/workers/collect"
	"millrace.dev/millrace/workers/event"
)

// keepGone is how long the ledger remembers an object that is gone: a list from an API server
// that lags behind may bring it back.
const keepGone = 10 * time.Minute

// ledger holds, for each object, the last published value of each aspect.
type ledger struct {
	objects [collect.Shards]map[string]*record
	dirty   [collect.Shards]bool
}

// record is what was published about one object.
type record struct {
	Kind   string            `json:"k"`
	Values map[string]string `json:"v,omitempty"`
	// Gone is when the object was deleted, in Unix seconds; 0 = it exists.
	Gone int64 `json:"g,omitempty"`
	// Name is [<namespace>/]<name>: of an object that is deleted while no collector runs only this
	// tells what it was. Empty = not known, or nobody needs it.
	Name string `json:"n,omitempty"`
	// Owner is the controller, and Workload what stands at the end of the chain of owners.
	Owner    ref `json:"o,omitempty"`
	Workload ref `json:"w,omitempty"`
}

func newLedger() *ledger {
	l := &ledger{}
	for i := range l.objects {
		l.objects[i] = map[string]*record{}
	}
	return l
}

func shardOf(uid string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid))
	return int(h.Sum32() % collect.Shards)
}

// get returns what was published about an object; nil = nothing, it was never seen.
func (l *ledger) get(uid string) *record { return l.objects[shardOf(uid)][uid] }

// see makes sure that there is a record of an object that exists.
func (l *ledger) see(uid, kind string) *record {
	shard := shardOf(uid)
	r := l.objects[shard][uid]
	if r == nil {
		r = &record{}
		l.objects[shard][uid] = r
	}
	if r.Kind != kind || r.Gone != 0 {
		r.Kind, r.Gone = kind, 0
		l.dirty[shard] = true
	}
	return r
}

// set records the value of an aspect.
func (l *ledger) set(uid, kind, aspect, value string) {
	r := l.see(uid, kind)
	if r.Values == nil {
		r.Values = map[string]string{}
	}
	if old, ok := r.Values[aspect]; ok && old == value {
		return
	}
	r.Values[aspect] = value
	l.dirty[shardOf(uid)] = true
}

// value is the last published value of an aspect; empty = none.
func (r *record) value(aspect string) string {
	if r == nil {
		return ""
	}
	return r.Values[aspect]
}

// know records what an object is called, and whose it is. What is no longer known stays.
func (l *ledger) know(uid string, r *record, name string, owner, workload ref) {
	if workload == "" && owner == r.Owner {
		workload = r.Workload
	}
	if r.Name != name || r.Owner != owner || r.Workload != workload {
		r.Name, r.Owner, r.Workload = name, owner, workload
		l.dirty[shardOf(uid)] = true
	}
}

// gone marks an object as deleted.
func (l *ledger) gone(uid string, now time.Time) {
	if r := l.get(uid); r != nil && r.Gone == 0 {
		r.Gone = now.Unix()
		l.dirty[shardOf(uid)] = true
	}
}

// missing are all objects of a kind that are not in there, and not known to be gone.
func (l *ledger) missing(kind string, there map[string]struct{}) []string {
	var all []string
	for _, objects := range l.objects {
		for uid, r := range objects {
			if _, ok := there[uid]; !ok && r.Kind == kind && r.Gone == 0 {
				all = append(all, uid)
			}
		}
	}
	slices.Sort(all)
	return all
}

// forget drops objects that are gone for long.
func (l *ledger) forget(now time.Time) {
	limit := now.Add(-keepGone).Unix()
	for i, objects := range l.objects {
		for uid, r := range objects {
			if r.Gone != 0 && r.Gone < limit {
				delete(objects, uid)
				l.dirty[i] = true
			}
		}
	}
}

// size is the number of objects.
func (l *ledger) size() int {
	n := 0
	for _, objects := range l.objects {
		n += len(objects)
	}
	return n
}

// eventID is the id of an event: uid/aspect/value, or uid/value for a Kubernetes event.
func eventID(uid, aspect, value string) string {
	if aspect == "" {
		return uid + "/" + value
	}
	return uid + "/" + aspect + "/" + value
}

// apply takes a published event into the ledger, as a restarted collector reads it back.
func (l *ledger) apply(e *event.Event) {
	uid, rest, ok := strings.Cut(strings.Clone(e.ID), "/")
	if !ok || uid == "" {
		return
	}
	aspect, value := "", rest
	if cut := strings.LastIndexByte(rest, '/'); cut >= 0 {
		aspect, value = rest[:cut], rest[cut+1:]
	}
	kind := kindOfType(e.Type)
	if kind == "" {
		return
	}
	l.set(uid, kind, storedAspect(aspect), value)
	if kind == kindEvent {
		return
	}
	name, owner, workload := strings.Clone(e.Entity.Name), ref(""), ref("")
	if e.Entity.Namespace != "" {
		name = e.Entity.Namespace + "/" + name
	}
	for r := range e.RelatedRefs {
		switch r.Role {
		case roleOwner:
			owner = newRef(r.APIVersion, r.Kind, r.Name, r.UID)
		case roleWorkload:
			workload = newRef(r.APIVersion, r.Kind, r.Name, r.UID)
		}
	}
	if workload != "" && workload == owner {
		workload = sameAsOwner
	}
	l.know(uid, l.get(uid), name, owner, workload)
}

// storedAspect is the aspect under which the ledger keeps a value: all changes of a workload tell its
// whole state.
func storedAspect(aspect string) string {
	if strings.HasPrefix(aspect, aspectSpec+"/") {
		return aspectSpec
	}
	return aspect
}
