package compare

import (
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/event"
)

// maxPending is how many events wait for the answers of other variants.
const maxPending = 100_000

// pending are events that some variants have answered, by a hash of source and id, the oldest first.
type pending = *simplelru.LRU[xxh3.Uint128, *answers]

// answers are what the variants said of one event: bits by variant.
type answers struct {
	said, outcome uint64
	at            int64 // stream time of the first one
	group         int
}

func newPending() pending {
	lru, _ := simplelru.NewLRU[xxh3.Uint128, *answers](maxPending, nil) // the size is positive
	return lru
}

// match counts an event when all variants have answered. A second answer of one variant changes nothing.
func (c *comparer) match(e *event.Event, group int, outcome bool, at int64) {
	c.expire(at - int64(c.interval))
	id := xxh3.HashString128(e.Source + "\x00" + e.ID)
	a, ok := c.pending.Peek(id) // which leaves the order as it is
	if !ok {
		if c.pending.Len() == maxPending {
			c.giveUp()
		}
		a = &answers{at: at, group: group}
		c.pending.Add(id, a)
	}
	bit := uint64(1) << e.Origin.Input
	if outcome && a.said&bit == 0 {
		a.outcome |= bit
	}
	a.said |= bit
	if a.said != 1<<len(c.variants)-1 {
		return
	}
	c.pending.Remove(id)
	for i := range c.variants {
		if i != c.control {
			c.now.pairs[i].count(a.group, a.outcome>>c.control&1 == 1, a.outcome>>i&1 == 1)
		}
	}
}

// expire gives up the events that came before a stream time, in ns.
func (c *comparer) expire(before int64) {
	for {
		_, oldest, ok := c.pending.GetOldest()
		if !ok || oldest.at > before {
			return
		}
		c.giveUp()
	}
}

// giveUp stops waiting for the oldest event.
func (c *comparer) giveUp() {
	c.pending.RemoveOldest()
	c.now.unmatched++
	c.unmatched.Inc()
}
