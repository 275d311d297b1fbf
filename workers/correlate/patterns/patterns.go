package patterns

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// lag is how long an event waits for earlier ones that arrive later.
	lag = int64(10 * time.Second)
	// controls is how many stretches before an episode are compared with the one behind it.
	controls = 6
	// lookEvery is how often patterns are named anew, relistEvery how often all of them are told again, in event time.
	lookEvery   = int64(time.Minute)
	relistEvery = int64(time.Hour)
	day         = int64(24 * time.Hour)
	// fade is what is left of a count after a day: a half after 30.
	fade = 0.977159968434
	// maxWalk is how far event time may go ahead with a look at each minute or hour. Further ahead all looks but the last are left out.
	maxWalk = 48 * int64(time.Hour)
	// warns is the least severity of what a person wants to know of before it comes.
	warns = 13
)

// Relation is what the events of a pattern have in common.
type Relation uint8

// The relations, the narrowest first.
const (
	Pod Relation = iota
	Workload
	Service
	Node
	Namespace
	Relations
)

func (r Relation) String() string {
	return [...]string{"pod", "workload", "service", "node", "namespace"}[r]
}

// Limits bound the memory of a Core, and say what it learns.
type Limits struct {
	// Within is W, in nanoseconds.
	Within int64
	// Keys is how many objects are remembered; the one that had no event for longest is forgotten first.
	Keys int
	// Kinds is how many kinds of events are known; more are not taken. Kinds that do not come for 30 days make room.
	Kinds int
	// Pairs is how many pairs of kinds are counted; those for which least speaks are forgotten first.
	Pairs int
	// Waiting is how many events wait for their time; the first ones are taken early.
	Waiting int
	// Known is how many patterns are told of; those for which most speaks.
	Known int
}

// DefaultLimits are for one correlate worker: about 100 MB when all are reached.
var DefaultLimits = Limits{Within: int64(2 * time.Minute), Keys: 20_000, Kinds: 2_000, Pairs: 20_000, Waiting: 100_000, Known: 500}

// perKey is how many kinds of events a key remembers.
const perKey = 32

// Counts are how many of each were forgotten, or not taken, for lack of room.
type Counts struct {
	Keys, Kinds, Pairs, Waiting, Slots int64
}

// Event is one event. Its strings are copied.
type Event struct {
	ID string
	// At is event time, in Unix nanoseconds.
	At int64
	// Object, Type and Reason make the kind of the event.
	Object, Type, Reason string
	Severity             int32
	// Keys are what the event is about, by relation; empty = not known.
	Keys [Relations]string
}

// Core is the detector. Its zero value is not ready: see New.
type Core struct {
	limits Limits
	// name makes the id of an expectation.
	name func(p *Pattern, key string, at int64) string

	now      int64 // event time, Unix nanoseconds; 0 = not known yet
	frontier int64 // what happened before is counted
	begun    int64 // the first event; what was before is not known
	evicted  int64 // the last event of a key that was forgotten
	looked   int64 // the time of the last look
	listed   int64 // the number of the hour of the last list
	faded    int64 // the number of the last day
	dirty    bool  // something was counted since the last look

	kinds    []*kind // in the order in which they were first seen
	byName   map[kindName]*kind
	keys     *simplelru.LRU[keyName, *entity]
	pairs    []*pair // in the order in which they were brought up
	byPair   map[pairName]*pair
	tested   int64 // pairs that were ever brought up
	sequence int64 // of kinds, keys and pairs
	known    []*pair
	queue    queue

	findings []Finding
	lists    []Listing
	counts   Counts
}

// New returns an empty Core. name makes the id of what is expected of a key since a time.
func New(l Limits, name func(p *Pattern, key string, at int64) string) *Core {
	c := &Core{limits: l, name: name}
	c.reset()
	return c
}

func (c *Core) reset() {
	*c = Core{limits: c.limits, name: c.name, counts: c.counts, findings: c.findings, lists: c.lists}
	c.byName, c.byPair = map[kindName]*kind{}, map[pairName]*pair{}
	c.keys, _ = simplelru.NewLRU[keyName, *entity](c.limits.Keys, nil) // the size is positive
}

// Rewind has event time begin anew, as where an input is read again: what was learnt stays, what is going on is forgotten.
func (c *Core) Rewind() {
	for _, key := range c.keys.Keys() {
		e, _ := c.keys.Peek(key)
		c.forget(e)
	}
	c.keys.Purge()
	c.queue = queue{order: c.queue.order}
	c.now, c.frontier, c.begun, c.evicted, c.looked, c.listed, c.faded = 0, 0, 0, 0, 0, 0, 0
	for _, p := range c.pairs {
		p.tested = 0
	}
}

// Counts returns how much was forgotten for lack of room so far.
func (c *Core) Counts() Counts { return c.counts }

// Sizes of what is held, for metrics.
func (c *Core) Sizes() (keys, kinds, pairs, known int) {
	return c.keys.Len(), len(c.kinds), len(c.pairs), len(c.known)
}

// Now is event time, in Unix nanoseconds; 0 = not known yet.
func (c *Core) Now() int64 { return c.now }

// News returns what was found since the last call, in the order in which it was.
func (c *Core) News() ([]Finding, []Listing) {
	findings, lists := c.findings, c.lists
	c.findings, c.lists = nil, nil
	return findings, lists
}

// Take has an event wait for its time. One that lies behind what is counted already counts as of then.
func (c *Core) Take(e *Event) {
	k := c.kindOf(e)
	if k == nil {
		return
	}
	if len(c.queue.heap) >= c.limits.Waiting {
		c.counts.Waiting++
		c.step(c.queue.heap[0].at)
		q := c.queue.pop()
		c.count(&q)
	}
	c.queue.push(queued{at: max(e.At, c.frontier, 1), event: newOccurrence(e, k)})
}

// Advance moves event time, in Unix nanoseconds: everything until then has arrived, but for what is late by less than the lag. Event time never goes
// back: see Rewind.
func (c *Core) Advance(now int64) {
	if now <= c.now {
		return
	}
	c.now = now
	c.until(now - lag)
}

// End counts everything that waits: the input is over, and its last time was latest.
func (c *Core) End(latest int64) {
	c.Advance(latest + c.limits.Within + lag + lookEvery)
}

// until counts what has happened until a time.
func (c *Core) until(at int64) {
	for len(c.queue.heap) > 0 && c.queue.heap[0].at <= at {
		c.step(c.queue.heap[0].at)
		q := c.queue.pop()
		c.count(&q)
	}
	if c.frontier != 0 {
		c.step(at)
	}
}

// step moves the frontier, and looks at each minute or hour on the way.
func (c *Core) step(to int64) {
	if c.frontier == 0 {
		c.begun, c.frontier, c.looked, c.listed, c.faded = to, to, to/lookEvery*lookEvery, to/relistEvery, to/day
	}
	for {
		next := (c.looked/relistEvery + 1) * relistEvery
		if c.dirty {
			next = c.looked + lookEvery
		}
		if next > to || next < c.looked { // the end of all times
			break
		}
		if to-next > maxWalk {
			next = to / relistEvery * relistEvery
		}
		c.look(next)
	}
	c.frontier = max(c.frontier, to)
}

// count takes what has waited for its time.
func (c *Core) count(q *queued) {
	switch {
	case q.event != nil:
		c.happens(q.event, q.at)
	case q.entity.gone:
	case q.late:
		c.expire(q.entity, q.at)
	default:
		c.judge(q.entity, q.slot, q.at-c.limits.Within, q.tests)
	}
}
