package enrich

import (
	"bytes"
	"fmt"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"millrace.dev/millrace/workers/event"
)

// key identifies an entity in the cache: kind and uid, or kind, namespace and name, or an IP.
type key struct{ kind, a, b string }

// Words in the place of a namespace that no namespace can be called.
const (
	byUID = "\x00uid"
	byIP  = "\x00ip"
)

func keyOf(q Query) key {
	switch {
	case q.UID != "":
		return key{q.Kind, byUID, q.UID}
	case q.Name != "":
		return key{q.keyKind(), q.Namespace, q.Name}
	default:
		return key{"", byIP, q.IP}
	}
}

// keyKind is the kind, with its apiVersion where that is not the usual one.
func (q *Query) keyKind() string {
	if q.APIVersion == "" || q.APIVersion == usualAPIVersion(q.Kind) {
		return q.Kind
	}
	return q.APIVersion + "\x00" + q.Kind
}

// usualAPIVersion is where the kinds of most events are defined; empty for others.
func usualAPIVersion(kind string) string {
	switch kind {
	case "Pod", "Node", "Service":
		return "v1"
	case "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet":
		return "apps/v1"
	case "Job", "CronJob":
		return "batch/v1"
	}
	return ""
}

// isForeign tells whether a query without an apiVersion found an object of an unusual group, which a
// query with the usual one must not get.
func (q *Query) isForeign(f *Facts) bool {
	if q.APIVersion != "" || f.Entity.APIVersion == "" {
		return false
	}
	usual := usualAPIVersion(q.Kind)
	return usual != "" && usual != f.Entity.APIVersion
}

// entry is what a look-up found, encoded as what it appends to an event. Entries are shared.
type entry struct {
	facts   *Facts // nil = none
	status  Status
	at      int64 // of the look-up, Unix nanoseconds; 0 = there was none
	expires int64 // Unix nanoseconds

	attributes []attribute
	references []reference
	// lengths tell which attributes have a key of this length, modulo their number.
	lengths [32]mask
	// encoded are the attributes, the references, and the enrichment's entry; whole is the
	// same, ready for events that have nothing of it.
	encoded []byte
	whole   *event.Prepared
	// parts are whole, cut by what events say themselves; nil = no event did yet.
	parts atomic.Pointer[parts]
	// impact is by severity band, encoded when the first event of the band comes.
	impact [bands]atomic.Pointer[event.Prepared]
}

// newEntry encodes what kubernetes found.
func newEntry(f *Facts, status Status, at int64, labels labelChoice) *entry {
	e := &entry{facts: f, status: status, at: at}
	b := make([]byte, 0, 1024)
	if f != nil {
		e.attributes = make([]attribute, 0, 16)
		eachAttribute(f, labels, func(key, value string) {
			if value != "" {
				b = appendAttribute(b, key, value)
				if i := len(e.attributes); i < 64 {
					e.lengths[len(key)%len(e.lengths)] |= 1 << i
				}
				e.attributes = append(e.attributes, attribute{key, uint32(len(b))})
			}
		})
		eachReference(f, func(r event.EntityRef) {
			b = appendReference(b, &r)
			e.references = append(e.references, reference{r.Kind, r.Namespace, r.Name, r.UID, uint32(len(b)), roleOf(r.Role)})
		})
	}
	e.encoded = bytes.Clone(appendEnrichment(b, "kubernetes", status, at))
	e.whole = prepare(e.encoded)
	return e
}

// impactFor returns the impact of an event of the given severity.
func (e *entry) impactFor(severity int32) *event.Prepared {
	band := bandOf(severity)
	if p := e.impact[band].Load(); p != nil {
		return p
	}
	var encoded []byte
	if e.facts != nil {
		encoded = appendImpact(nil, impactOf(e.facts, band))
	}
	p := prepare(appendEnrichment(encoded, "impact", e.status, e.at))
	e.impact[band].Store(p)
	return p
}

// cache keeps entries until they expire or others need their place.
type cache struct {
	entries *lru.Cache[key, *entry]
}

func newCache(maxEntries int) (*cache, error) {
	entries, err := lru.New[key, *entry](maxEntries)
	if err != nil {
		return nil, fmt.Errorf("enrich.cache.maxEntries: %w", err)
	}
	return &cache{entries}, nil
}

// get returns an entry that answers for an event time; nil = look it up.
func (c *cache) get(k key, at, now int64) *entry {
	e, ok := c.entries.Get(k)
	if !ok || !e.answers(at, now) {
		return nil
	}
	return e
}

// answers tells whether the entry may still be used, and for an event time.
func (e *entry) answers(at, now int64) bool {
	return e.expires > now && (e.facts == nil || e.facts.Valid.Holds(at))
}

// put stores an entry under a copy of its key, whose strings belong to an event.
func (c *cache) put(k key, e *entry) { c.entries.Add(k.clone(), e) }
