package patterns

import (
	"math/bits"
	"strings"
)

// kindName is what makes a kind.
type kindName struct{ object, typ, reason string }

// kind is a kind of events, or the completion of a known pattern.
type kind struct {
	kindName
	sequence int64
	severity int32              // of the last event
	seen     int64              // when it came last
	begun    [Relations]float64 // episodes, faded

	of   *pair // what it completes; nil unless it is a completion
	gone bool  // it was forgotten

	then  [Relations][]*pair // the known patterns that begin with the kind
	after [Relations][]*pair // the known patterns of two that end with it
}

// says is the kind as people read it.
func (k *kind) says() string {
	if k.of != nil {
		return k.of.first.says() + " -> " + k.of.then.says()
	}
	var b strings.Builder
	for _, s := range [...]string{k.object, k.typ, k.reason} {
		if s != "" {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

// maxText bounds each part of the name of a kind.
const maxText = 120

// kindOf finds the kind of an event, or makes it; nil = there is no room.
func (c *Core) kindOf(e *Event) *kind {
	name := kindName{cut(e.Object), cut(e.Type), cut(e.Reason)}
	if k, ok := c.byName[name]; ok {
		return k
	}
	if len(c.byName) >= c.limits.Kinds {
		c.counts.Kinds++
		return nil
	}
	c.sequence++
	k := &kind{kindName: kindName{strings.Clone(name.object), strings.Clone(name.typ), strings.Clone(name.reason)}, sequence: c.sequence, seen: c.frontier}
	c.kinds = append(c.kinds, k)
	c.byName[k.kindName] = k
	return k
}

func cut(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

type keyName struct {
	relation Relation
	key      string
}

// entity is what one key remembers.
type entity struct {
	keyName
	since int64 // what happened before is not known
	slots []*slot
	gone  bool // it was forgotten

	expects []*expectation
	quiet   []quietness
}

// ringSize is how many moments of a kind are remembered: those are half of W apart, and seven stretches of W are looked at.
const ringSize = 2 * (controls + 1)

// slot is what a key remembers of one kind.
type slot struct {
	kind   *kind
	ring   [ringSize]int64 // moments, at least W/2 apart
	n      uint64          // moments ever
	newest int64           // the last event
	before int64           // the last event before that
	id     string          // of the last event

	start   int64  // of the last episode
	startID string // its first event
	tested  int64  // when the last episode began that was tested; 0 = none
}

// moment remembers that the kind came at a time.
func (s *slot) moment(at, apart int64) {
	if s.n > 0 && at-s.ring[(s.n-1)%ringSize] < apart {
		return
	}
	s.ring[s.n%ringSize] = at
	s.n++
}

// around says whether a moment lies within W behind a time, and in how many of the stretches before there is one.
func (s *slot) around(at, within int64) (hit bool, first int64, before int) {
	mask := uint(0)
	for i := s.n - min(s.n, ringSize); i < s.n; i++ {
		switch d := at - s.ring[i%ringSize]; {
		case d > 0 && d <= controls*within:
			mask |= 1 << ((d - 1) / within)
		case d < 0 && -d <= within && !hit:
			hit, first = true, -d
		}
	}
	return hit, first, bits.OnesCount(mask)
}

// entity finds what a key remembers, or begins to.
func (c *Core) entity(name keyName) *entity {
	if e, ok := c.keys.Get(name); ok {
		return e
	}
	if c.keys.Len() >= c.limits.Keys {
		c.counts.Keys++
		if _, old, ok := c.keys.RemoveOldest(); ok {
			for _, s := range old.slots {
				c.evicted = max(c.evicted, s.newest)
			}
			c.forget(old)
		}
	}
	e := &entity{keyName: name, since: max(c.begun, c.evicted)}
	c.keys.Add(name, e)
	return e
}

// forget ends what is expected of a key that is forgotten.
func (c *Core) forget(e *entity) {
	e.gone = true
	for _, x := range e.expects {
		c.close(e, x, c.frontier, outcomeUnknown)
	}
	e.expects, e.slots = nil, nil
}

// slot finds what a key remembers of a kind, or begins to.
func (c *Core) slot(e *entity, k *kind) *slot {
	for _, s := range e.slots {
		if s.kind == k {
			return s
		}
	}
	s := &slot{kind: k}
	if len(e.slots) < perKey {
		e.slots = append(e.slots, s)
		return s
	}
	c.counts.Slots++
	old := 0
	for i, x := range e.slots {
		if x.newest < e.slots[old].newest {
			old = i
		}
	}
	e.since = max(e.since, e.slots[old].newest)
	e.slots[old] = s
	return s
}

// happens counts an event for all of its keys.
func (c *Core) happens(o *occurrence, at int64) {
	o.kind.seen, o.kind.severity = max(o.kind.seen, at), o.severity
	for r := range Relations {
		if o.keys[r] == "" {
			continue
		}
		e := c.entity(keyName{r, o.keys[r]})
		s := c.slot(e, o.kind)
		c.arrives(e, o.kind, o.id, at)
		s.before, s.newest, s.id = s.newest, at, o.id
		s.moment(at, c.limits.Within/2)
		c.completes(e, s, at)
		c.begins(e, s, at, o.id)
	}
}

// completes notes the completions of known patterns as events of their own.
func (c *Core) completes(e *entity, s *slot, at int64) {
	for _, p := range s.kind.after[e.relation] {
		for _, first := range e.slots {
			if first.kind == p.first && first.start < at && at-first.start <= c.limits.Within && s.before <= first.start {
				id := first.startID
				done := c.slot(e, p.completed)
				done.before, done.newest, done.id = done.newest, at, id
				done.moment(at, c.limits.Within/2)
				p.completed.seen = at
				c.begins(e, done, at, id)
				break
			}
		}
	}
}

// begins starts an episode, unless one is going on.
func (c *Core) begins(e *entity, s *slot, at int64, id string) {
	within := c.limits.Within
	if s.start != 0 && at-s.start <= within {
		return
	}
	s.start, s.startID = at, id
	q := queued{at: at + within, entity: e, slot: s}
	if known := at - controls*within; known >= e.since && (s.tested == 0 || known >= s.tested+within) {
		q.tests, s.tested = true, at
	}
	c.queue.push(q)
	c.expect(e, s, at)
}
