package patterns

import (
	"cmp"
	"math"
	"slices"
)

const (
	// falseShare is the bound of the share of false patterns among those that are told of.
	falseShare = 0.05
	// leastFollowed, leastConfidence and leastLift are what a pattern must have to be worth telling: so many times, so often of all times at least (the
	// lower bound), and so many times more often than by chance.
	leastFollowed   = 10
	leastConfidence = 0.3
	leastLift       = 2
	// narrower is which share of the times a pattern must hold over a narrower relation for that one to be told.
	narrower = 0.8
)

// Pattern is what is known of a pattern.
type Pattern struct {
	Relation Relation
	// First has one kind, or the two that a sequence begins with.
	First []string
	Then  string
	// Severity is that of the last event of kind Then.
	Severity int32
	// Usually is within what time nine of ten came, and Within the longest time that counts, in nanoseconds.
	Usually, Within int64
	// Begun is how often it began, Followed how often Then followed, and Chance how often it would have by chance. All are faded.
	Begun, Followed, Chance float64
	// Confidence is Followed/Begun, Low the lower bound of its 95 % interval.
	Confidence, Low float64
	// Evidence is the logarithm of how much likelier it is than chance, in nats, 60 at most.
	Evidence float64
	// Since is when it was found, in Unix nanoseconds.
	Since    int64
	Examples []Example
}

// Listing is a pattern that was found, holds on, or holds no more.
type Listing struct {
	Pattern  Pattern
	At       int64
	Revision uint32
	Known    bool
}

func (c *Core) describe(p *pair) *Pattern {
	d := &Pattern{
		Relation: p.relation, Then: p.then.says(), Severity: p.then.severity, Usually: p.usually(c.limits.Within), Within: c.limits.Within,
		Begun: p.begun(), Followed: p.followed, Chance: p.chance, Confidence: p.followed / p.begun(), Low: wilson(p.followed, p.begun()),
		Evidence: float64(p.evidence) / nat, Since: p.since, Examples: slices.Clone(p.examples),
	}
	if of := p.first.of; of != nil {
		d.First = []string{of.first.says(), of.then.says()}
	} else {
		d.First = []string{p.first.says()}
	}
	return d
}

// look finds the patterns anew, and tells of all of them each hour.
func (c *Core) look(at int64) {
	c.looked = at
	if today := at / day; today > c.faded {
		c.fadeTo(today)
		c.retire(at)
		c.dirty = true
	}
	if c.dirty {
		c.dirty = false
		c.find(at)
	}
	if hour := at / relistEvery; hour > c.listed {
		c.listed = hour
		for _, p := range c.known {
			if p.told != at {
				c.list(p, at)
			}
		}
	}
}

func (c *Core) list(p *pair, at int64) {
	p.revision++
	p.told = at
	c.lists = append(c.lists, Listing{Pattern: *c.describe(p), At: at, Revision: p.revision, Known: p.known})
}

// find makes known those pairs for which chance is no explanation, and no others.
func (c *Core) find(at int64) {
	found := c.beyondChance(c.narrowest())
	now := map[*pair]bool{}
	for _, p := range found {
		now[p] = true
	}
	for _, p := range slices.Clone(c.known) {
		if !now[p] {
			c.lose(p, at)
		}
	}
	for _, p := range found {
		if !p.known {
			c.gain(p, at)
		}
	}
}

// worth says whether a pair would be worth telling, should it be no chance.
func (p *pair) worth() bool {
	return p.evidence >= leastEvidence && p.followed >= leastFollowed && p.followed >= float64(leastLift*p.chance) && (p.first.of == nil || p.first.of.known) &&
		wilson(p.followed, p.begun()) >= leastConfidence
}

// narrowest returns the pairs that are worth telling, of those of the same kinds the one with the narrowest relation that has nearly all of their episodes.
func (c *Core) narrowest() (best []*pair) {
	type kinds struct{ first, second, then *kind }
	of, order := map[kinds][]*pair{}, []kinds(nil)
	for _, p := range c.pairs {
		if !p.worth() {
			continue
		}
		key := kinds{p.first, nil, p.then}
		if s := p.first.of; s != nil {
			key = kinds{s.first, s.then, p.then}
		}
		if of[key] == nil {
			order = append(order, key)
		}
		of[key] = append(of[key], p)
	}
	for _, key := range order {
		same := of[key]
		slices.SortFunc(same, func(a, b *pair) int { return cmp.Compare(a.relation, b.relation) })
		most := 0.0
		for _, p := range same {
			most = max(most, p.followed)
		}
		for _, p := range same {
			if p.followed >= float64(narrower*most) {
				best = append(best, p)
				break
			}
		}
	}
	return best
}

// beyondChance is the e-BH procedure: the k pairs with the most evidence, for the largest k such that each of them has ln(m/(falseShare k)) nats or more,
// where m is the number of all pairs that were ever tested. The result is in the order in which they were brought up.
func (c *Core) beyondChance(all []*pair) []*pair {
	slices.SortFunc(all, func(a, b *pair) int {
		return cmp.Or(cmp.Compare(b.evidence, a.evidence), cmp.Compare(a.sequence, b.sequence))
	})
	k := min(len(all), c.limits.Known)
	for k > 0 && float64(all[k-1].evidence) < nat*math.Log(float64(c.tested)/(falseShare*float64(k))) {
		k--
	}
	all = all[:k]
	slices.SortFunc(all, func(a, b *pair) int { return cmp.Compare(a.sequence, b.sequence) })
	return all
}

// gain makes a pair a known pattern.
func (c *Core) gain(p *pair, at int64) {
	p.known, p.since = true, at
	c.known = append(c.known, p)
	p.first.then[p.relation] = append(p.first.then[p.relation], p)
	if p.first.of == nil {
		if p.completed == nil {
			c.sequence++
			p.completed = &kind{of: p, sequence: c.sequence, seen: at}
			c.kinds = append(c.kinds, p.completed)
		}
		p.then.after[p.relation] = append(p.then.after[p.relation], p)
	}
	c.list(p, at)
}

// lose makes a known pattern a pair like others.
func (c *Core) lose(p *pair, at int64) {
	p.known = false
	is := func(x *pair) bool { return x == p }
	c.known = slices.DeleteFunc(c.known, is)
	p.first.then[p.relation] = slices.DeleteFunc(p.first.then[p.relation], is)
	p.then.after[p.relation] = slices.DeleteFunc(p.then.after[p.relation], is)
	c.list(p, at)
}
