package enrich

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"

	eventv1 "millrace.dev/millrace/api/event/v1"
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
		return key{q.Kind, q.Namespace, q.Name}
	default:
		return key{"", byIP, q.IP}
	}
}

// entry is what a look-up found, encoded as what it appends to an event. Entries are shared
// and never changed.
type entry struct {
	facts   *Facts // nil = none
	status  Status
	expires int64 // Unix nanoseconds

	attributes []attribute
	references []reference
	// whole are all attributes and references and the enrichment's entry, for events that
	// have nothing of it; done is the enrichment's entry alone.
	whole, done event.Prepared
	// impact is by severity band.
	impact [bands]event.Prepared
}

// encoder makes entries.
type encoder struct {
	labels             labelChoice
	kubernetes, impact bool // which enrichers are on
}

func (c encoder) entry(f *Facts, status Status, now int64) *entry {
	e := &entry{facts: f, status: status}
	done := encodeEnrichment("kubernetes", status, now)
	e.done = prepare(done)
	if f == nil {
		c.noImpact(e, status, now)
		return e
	}
	if c.kubernetes {
		e.attributes = attributes(f, c.labels)
		e.references = references(f)
		e.whole = prepare(e.join(done))
	}
	if c.impact {
		done := encodeEnrichment("impact", status, now)
		for b := range bands {
			e.impact[b] = prepare(append(encode(&eventv1.Event{Impact: impactOf(f, b)}), done...))
		}
	}
	return e
}

// join is everything that e has to append.
func (e *entry) join(done []byte) []byte {
	var whole []byte
	for _, a := range e.attributes {
		whole = append(whole, a.encoded...)
	}
	for _, r := range e.references {
		whole = append(whole, r.encoded...)
	}
	return append(whole, done...)
}

func (c encoder) noImpact(e *entry, status Status, now int64) {
	if !c.impact {
		return
	}
	none := prepare(encodeEnrichment("impact", status, now))
	for b := range bands {
		e.impact[b] = none
	}
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
	if !ok || e.expires <= now || e.facts != nil && !e.facts.Valid.Holds(at) {
		return nil
	}
	return e
}

// put stores an entry under a copy of its key, whose strings belong to an event.
func (c *cache) put(k key, e *entry) { c.entries.Add(k.clone(), e) }
