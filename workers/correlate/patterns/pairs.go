package patterns

import (
	"cmp"
	"math"
	"slices"
)

type pairName struct {
	relation    Relation
	first, then *kind
}

// pair is two kinds of which the second has followed the first, over one relation.
type pair struct {
	pairName
	sequence int64
	earlier  float64 // episodes before it was brought up, faded
	followed float64 // episodes in which it followed, faded
	chance   float64 // how often it would have by chance, faded
	evidence int64   // millionths of a nat
	tested   int64   // when the last episode began that was tested; 0 = none
	delays   [len(delayBounds)]float64
	examples []Example

	known     bool
	since     int64 // when it was found
	told      int64 // when it was listed
	open      int   // findings of it
	revision  uint32
	completed *kind // nil unless it is a known pattern of two
}

// Example is one episode in which a pattern held.
type Example struct {
	Key         string
	First, Then string // ids of events
	At          int64  // of the first, Unix nanoseconds
	Delay       int64  // nanoseconds
}

const maxExamples = 3

// leastEvidence is the least with which a pair can be a pattern, however few there are: ln(1/falseShare). From there on it keeps examples.
const leastEvidence = 3 * nat

// delayBounds are the upper bounds of the classes that delays are counted in, as shares of W in thousandths.
var delayBounds = [...]int64{5, 10, 20, 50, 100, 200, 350, 500, 750, 1000}

const nat = 1_000_000

// gains are ln(8/(s+1)) for s of the seven stretches with an event when it followed, losses ln(1/(s+1)) when it did not, in millionths and rounded
// down: whole numbers are the same on all processors.
var (
	gains  = [controls + 2]int64{0, 1386294, 980829, 693147, 470003, 287682, 133531, 0}
	losses = [controls + 2]int64{0, -693148, -1098613, -1386295, -1609438, -1791760, -1945911, -2079442}
)

const (
	// hopeless is the evidence below which a pair is forgotten, mostEvidence the most that is kept.
	hopeless     = -7 * nat
	mostEvidence = 60 * nat
)

// judge looks at an episode that is over: which kinds followed?
func (c *Core) judge(e *entity, a *slot, at int64, tests bool) {
	if a.kind.gone {
		return
	}
	a.kind.begun[e.relation]++
	c.dirty = true
	tests = tests && at-controls*c.limits.Within >= e.since
	for _, s := range e.slots {
		if s.kind.of != nil || s.kind == a.kind || a.kind.part(s.kind) {
			continue
		}
		c.compare(e, a, s, at, tests)
	}
	c.overdue(e, a, at)
}

// part says whether a pattern has a kind in it.
func (k *kind) part(of *kind) bool { return k.of != nil && (k.of.first == of || k.of.then == of) }

// compare counts an episode of a for the pair of a and b.
func (c *Core) compare(e *entity, a, b *slot, at int64, tests bool) {
	within := c.limits.Within
	hit, delay, before := b.around(at, within)
	came := b.newest > at
	if came && !hit {
		delay = b.newest - at
	}
	if !came && before == 0 {
		return
	}
	name := pairName{e.relation, a.kind, b.kind}
	p, ok := c.byPair[name]
	if !ok {
		if !came {
			return
		}
		p = c.bringUp(name)
		p.tested = at
	}
	p.chance += float64(before) / controls
	if came {
		p.followed++
		p.delays[delayClass(delay, within)]++
	}
	if ok && tests && at-p.tested >= within {
		p.tested = at
		p.learn(hit, before)
		if p.evidence < hopeless && p.completed == nil {
			c.drop(p)
			return
		}
	}
	if came && p.evidence >= leastEvidence {
		p.example(Example{Key: e.key, First: a.startOf(at), Then: b.id, At: at, Delay: b.newest - at})
	}
}

// startOf is the id of the event that began the episode of a time.
func (s *slot) startOf(at int64) string {
	if s.start == at {
		return s.startID
	}
	return ""
}

func (p *pair) learn(hit bool, before int) {
	if hit {
		p.evidence = min(p.evidence+gains[before+1], mostEvidence)
	} else {
		p.evidence += losses[before]
	}
}

func (p *pair) example(x Example) {
	if len(p.examples) == maxExamples {
		p.examples = slices.Delete(p.examples, 0, 1)
	}
	p.examples = append(p.examples, x)
}

func delayClass(delay, within int64) int {
	for i, b := range delayBounds {
		if delay <= within/1000*b {
			return i
		}
	}
	return len(delayBounds) - 1
}

// usually is within what time nine of ten came that did, in nanoseconds: the upper bound of a class.
func (p *pair) usually(within int64) int64 {
	all, sum := 0.0, 0.0
	for _, n := range p.delays {
		all += n
	}
	for i, n := range p.delays {
		if sum += n; sum >= float64(0.9*all) {
			return within / 1000 * delayBounds[i]
		}
	}
	return within
}

// begun is the number of episodes that the pair could have followed in, faded.
func (p *pair) begun() float64 { return max(p.first.begun[p.relation]-p.earlier, p.followed) }

// bringUp makes a pair that followed for the first time. Its evidence begins with the next episode.
func (c *Core) bringUp(name pairName) *pair {
	if len(c.pairs) >= c.limits.Pairs {
		c.makeRoom()
	}
	c.sequence++
	c.tested++
	p := &pair{pairName: name, sequence: c.sequence, earlier: name.first.begun[name.relation] - 1}
	c.pairs = append(c.pairs, p)
	c.byPair[name] = p
	return p
}

// makeRoom forgets the quarter of the pairs for which least speaks, the oldest first where that is equal.
func (c *Core) makeRoom() {
	order := slices.Clone(c.pairs)
	slices.SortFunc(order, func(a, b *pair) int {
		if a.known != b.known {
			if b.known {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.evidence, b.evidence), cmp.Compare(a.sequence, b.sequence))
	})
	for _, p := range order[:(len(order)+3)/4] {
		if p.completed == nil && !p.known {
			c.counts.Pairs++
			delete(c.byPair, p.pairName)
		}
	}
	c.sweep()
}

// drop forgets a pair.
func (c *Core) drop(p *pair) {
	delete(c.byPair, p.pairName)
	i, ok := slices.BinarySearchFunc(c.pairs, p.sequence, func(x *pair, sequence int64) int { return cmp.Compare(x.sequence, sequence) })
	if ok {
		c.pairs = slices.Delete(c.pairs, i, i+1)
	}
}

// sweep takes the pairs off the list that are forgotten.
func (c *Core) sweep() {
	c.pairs = slices.DeleteFunc(c.pairs, func(p *pair) bool { return c.byPair[p.pairName] != p })
}

// fadeTo makes counts smaller for each day that has passed.
func (c *Core) fadeTo(to int64) {
	for days := min(to-c.faded, 365); days > 0; days-- {
		for _, k := range c.kinds {
			for r := range k.begun {
				k.begun[r] *= fade
			}
		}
		for _, p := range c.pairs {
			p.earlier *= fade
			p.followed *= fade
			p.chance *= fade
			for i := range p.delays {
				p.delays[i] *= fade
			}
			if p.evidence > 0 {
				p.evidence = int64(float64(p.evidence) * fade)
			}
		}
	}
	c.faded = to
}

// keptFor is how long a kind is known that does not come.
const keptFor = 30 * day

// retire forgets kinds that have not come for 30 days, with all that is known of them, and pairs that have faded.
func (c *Core) retire(now int64) {
	for _, q := range c.queue.heap { // what waits is to come
		if q.event != nil {
			q.event.kind.seen = max(q.event.kind.seen, now)
		}
	}
	for _, k := range c.kinds {
		k.gone = k.of == nil && k.seen < now-keptFor
	}
	for _, p := range c.pairs { // those that a completion begins come behind the pair that it completes
		faded := !p.known && (p.followed < 0.05 || p.evidence < hopeless)
		if !faded && !p.first.gone && !p.then.gone {
			continue
		}
		if p.known {
			c.lose(p, now)
		}
		delete(c.byPair, p.pairName)
		if p.completed != nil {
			p.completed.gone = true
		}
	}
	c.sweep()
	c.kinds = slices.DeleteFunc(c.kinds, func(k *kind) bool {
		if k.gone && k.of == nil {
			delete(c.byName, k.kindName)
		}
		return k.gone
	})
	for _, key := range c.keys.Keys() {
		e, _ := c.keys.Peek(key)
		e.slots = slices.DeleteFunc(e.slots, func(s *slot) bool { return s.kind.gone })
	}
}

// wilson is the lower bound of the 95 % interval of a share of k in n (Wilson, 1927).
func wilson(k, n float64) float64 {
	if n <= 0 {
		return 0
	}
	const z = 1.959963984540054
	p := k / n
	z2n := z * z / n
	root := math.Sqrt(float64(float64(p*(1-p))/n) + float64(z2n/(4*n)))
	return max(0, float64(p+z2n/2-float64(z*root))/(1+z2n))
}
