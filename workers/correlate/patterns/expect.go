package patterns

import "slices"

const (
	// always is the lower bound of the confidence of a pattern whose absence is told.
	always = 0.9
	// quietFor is how long a key hears nothing more of a pattern that has begun.
	quietFor = day / 24
	// missingFor is how long what did not come is waited for.
	missingFor = day / 24
	// perKeyExpects and perPattern bound what is expected of a key, and the findings of a pattern that are open.
	perKeyExpects = 16
	perPattern    = 10
)

// What a Finding is about.
const (
	Begins  = "begins"  // a known pattern has begun, and something that warns is to follow
	Missing = "missing" // what always follows has not come
)

// Outcome says how a finding ended.
type Outcome string

// The outcomes.
const (
	outcomeOpen    Outcome = ""
	Came           Outcome = "came"
	DidNotCome     Outcome = "did-not-come"
	outcomeUnknown Outcome = "unknown" // the key was forgotten
)

// Finding is one revision of what the Core tells of an object now.
type Finding struct {
	ID       string
	Revision uint32
	About    string // Begins or Missing
	Pattern  Pattern
	Key      string
	// At is when it began, Due when Then would have come by the longest, Time when this revision was made; Unix nanoseconds.
	At, Due, Time int64
	// First and Then are ids of events; Then is empty while it has not come.
	First, Then string
	Outcome     Outcome // empty while it is open
}

// expectation is that a known pattern goes on.
type expectation struct {
	pair     *pair
	id       string
	at       int64
	first    string
	about    string // empty until it is told
	revision uint32
}

// quietness is until when a key hears nothing more of a pattern that has begun.
type quietness struct {
	pair  *pair
	until int64
}

// expect begins to expect what follows, by known patterns.
func (c *Core) expect(e *entity, s *slot, at int64) {
	for _, p := range s.kind.then[e.relation] {
		warned := p.then.severity >= warns
		if !warned && wilson(p.followed, p.begun()) < always || len(e.expects) >= perKeyExpects || e.waitsFor(p) || warned && !e.hears(p, at) {
			continue
		}
		x := &expectation{pair: p, at: at, first: s.startID}
		if warned {
			if p.open >= perPattern {
				continue
			}
			e.quiet = append(e.quiet, quietness{p, at + quietFor})
			c.open(e, x, Begins, at)
		}
		e.expects = append(e.expects, x)
	}
}

func (e *entity) waitsFor(p *pair) bool {
	return slices.ContainsFunc(e.expects, func(x *expectation) bool { return x.pair == p })
}

// hears says whether a key hears of a pattern that begins.
func (e *entity) hears(p *pair, at int64) bool {
	e.quiet = slices.DeleteFunc(e.quiet, func(q quietness) bool { return q.until <= at })
	return !slices.ContainsFunc(e.quiet, func(q quietness) bool { return q.pair == p })
}

// open tells of an expectation for the first time.
func (c *Core) open(e *entity, x *expectation, about string, at int64) {
	x.about = about
	x.pair.open++
	x.id = c.name(c.describe(x.pair), e.key, x.at)
	c.tell(e, x, at, "", outcomeOpen)
}

func (c *Core) tell(e *entity, x *expectation, at int64, then string, o Outcome) {
	x.revision++
	c.findings = append(c.findings, Finding{
		ID: x.id, Revision: x.revision, About: x.about, Pattern: *c.describe(x.pair), Key: e.key, At: x.at, Due: x.at + c.limits.Within, Time: at,
		First: x.first, Then: then, Outcome: o,
	})
}

// close ends what was told of an expectation, if anything.
func (c *Core) close(e *entity, x *expectation, at int64, o Outcome) { c.closeWith(e, x, at, "", o) }

func (c *Core) closeWith(e *entity, x *expectation, at int64, then string, o Outcome) {
	if x.about == "" {
		return
	}
	x.pair.open--
	c.tell(e, x, at, then, o)
}

// arrives ends the expectations that an event fulfils.
func (c *Core) arrives(e *entity, k *kind, id string, at int64) {
	e.expects = slices.DeleteFunc(e.expects, func(x *expectation) bool {
		if x.pair.then != k || at <= x.at {
			return false
		}
		c.closeWith(e, x, at, id, Came)
		return true
	})
}

// overdue ends the expectations of an episode that is over, or tells that what always follows has not come.
func (c *Core) overdue(e *entity, a *slot, began int64) {
	now := began + c.limits.Within
	e.expects = slices.DeleteFunc(e.expects, func(x *expectation) bool {
		if x.at != began || x.pair.first != a.kind || x.about == Missing {
			return false
		}
		if x.about == "" && x.pair.known && x.pair.open < perPattern {
			c.open(e, x, Missing, now)
			c.queue.push(queued{at: now + missingFor, entity: e, late: true})
			return false
		}
		c.close(e, x, now, DidNotCome)
		return true
	})
}

// expire ends what was told as missing, and has not come.
func (c *Core) expire(e *entity, at int64) {
	e.expects = slices.DeleteFunc(e.expects, func(x *expectation) bool {
		if x.about != Missing || x.at+c.limits.Within+missingFor > at {
			return false
		}
		c.close(e, x, at, DidNotCome)
		return true
	})
}

// Resume forgets what is told under ids that nobody knows, and returns the ids of told that it does not tell of.
func (c *Core) Resume(told []string) (gone []string) {
	known, here := map[string]bool{}, map[string]bool{}
	for _, id := range told {
		known[id] = true
	}
	for _, name := range c.keys.Keys() {
		e, _ := c.keys.Peek(name)
		e.expects = slices.DeleteFunc(e.expects, func(x *expectation) bool {
			here[x.id] = true
			if x.about == "" || known[x.id] {
				return false
			}
			x.pair.open--
			return true
		})
	}
	for _, id := range told {
		if !here[id] {
			gone = append(gone, id)
		}
	}
	return gone
}
