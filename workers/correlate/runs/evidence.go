package runs

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// maxEvidence bounds one piece of evidence, in nats.
const maxEvidence = 60.0

// The kinds of evidence.
const (
	kindLog = iota
	kindCall
	kindOwn
	kindNetwork
	kindDatabase
	kindResource
	kindNamed
	kinds
)

var kindNames = [kinds]string{"log", "call", "own-time", "network", "database", "resource", "named"}

// evidence is what speaks against a service.
type evidence struct {
	kind   int
	weight float64
	route  *route
	said   *statement
	link   *link
	gauge  *gauge
	// k of n runs, where the norm says the share p; else values against what is usual.
	k, n           float64
	p              float64
	value, usually float64
}

// scores are those of the last evaluation.
type scores struct{ local, spread, score float64 }

// maxTexts is how many texts of a candidate are told.
const maxTexts = 3

// add keeps a piece of evidence against s.
func (c *Core) add(s *Service, e evidence) {
	if e.weight <= 0 {
		return
	}
	if !s.known {
		s.known, s.best, s.top, s.scoring = true, [kinds]evidence{}, s.top[:0], scores{}
		c.suspected = append(c.suspected, s)
	}
	if e.weight > s.best[e.kind].weight {
		s.best[e.kind] = e
	}
	if len(s.top) == maxTexts && s.top[maxTexts-1].weight >= e.weight {
		return
	}
	i := len(s.top)
	for i > 0 && s.top[i-1].weight < e.weight {
		i--
	}
	s.top = slices.Insert(s.top, i, e)
	s.top = s.top[:min(len(s.top), maxTexts)]
}

// evaluate compares the window with the norms, learns what leaves it, and tells what is new. It is called at the end of a pane.
func (c *Core) evaluate() {
	if epoch := c.paneNow * pane / bucketSpan; epoch != c.epoch {
		c.epoch = epoch
		c.sweep()
	}
	for _, s := range c.suspected {
		s.known = false
	}
	c.suspected = c.suspected[:0]
	for _, r := range c.routes {
		if r.active {
			r.settle(c)
		}
	}
	for _, l := range c.links {
		l.evidence, l.calls = 0, 0
		if l.active {
			l.settle(c)
		}
	}
	c.networks()
	for _, g := range c.gauges {
		if g.hotUntil > c.paneNow*pane && g.weight > 0 {
			c.add(g.service, evidence{kind: kindResource, weight: g.weight, gauge: g, value: g.hot, usually: g.usually})
		}
	}
	c.rank()
	c.review()
	c.reviewAlarms()
}

// settle tests a route and learns the panes that leave its window.
func (r *route) settle(c *Core) {
	r.rotate(c.epoch)
	if r.runs < 5 {
		for i := range int64(window) {
			r.learn(i)
		}
	}
	score := r.test(c)
	for i := range r.high {
		r.high[i] = max(r.high[i], score)
	}
	if r.active = leave(c.paneNow, r.runs, func(i int64) bool { return r.n[i]+r.x[i]+r.mute[i] > 0 }, r.learn); !r.active {
		r.high, r.lossy = [window]float64{}, [window]bool{}
	}
}

// leave learns the panes that leave the window, sooner where the norm is young, and says whether any is left.
func leave(now int64, n float64, some func(int64) bool, learn func(int64)) (left bool) {
	length := int64(window)
	if n < 20 {
		length = 2
	}
	for age := range int64(window) {
		i := (now - age) % window
		if i < 0 {
			continue
		}
		if age >= length-1 {
			learn(i)
		} else {
			left = left || some(i)
		}
	}
	return left
}

// test finds the evidence in a route and returns the most.
func (r *route) test(c *Core) (most float64) {
	if r.runs < 5 {
		return 0
	}
	lost := r.service.losesLogs(c)
	for i := range r.lossy {
		r.lossy[i] = r.lossy[i] || lost
	}
	scale := min(1, maxRuns/r.runs)
	for at := range r.said {
		if e := r.said[at].test(c, r, scale); e.weight > 0 {
			most = max(most, e.weight)
			to := r.service
			if e.kind == kindNamed {
				to = e.said.named
			}
			c.add(to, e)
		}
	}
	if e := r.slow(c); e.weight > 0 {
		most = max(most, e.weight)
		c.add(r.service, e)
	}
	return most
}

// test finds the evidence in a statement: the most of the last 1, 2 and 4 panes.
func (s *said) test(c *Core, r *route, scale float64) (best evidence) {
	total, sum := r.runs, s.sum
	if s.kind == saysName {
		total += r.also
		scale = min(1, maxRuns/total)
	}
	p := (sum*scale + 0.5) / (total*scale + 1)
	phi := dispersal(&s.chi, &r.panes)
	var n, k float64
	for age := range int64(window) {
		if age > c.paneNow {
			break
		}
		i := (c.paneNow - age) % window
		n += float64(r.n[i])
		if !r.lossy[i] || s.kind != saysLog { // a run that logs nothing calls all the same
			n += float64(r.mute[i])
		}
		if s.kind == saysName {
			n += float64(r.x[i])
		}
		k += float64(s.k[i])
		if age == 2 || n < 2 || math.Abs(k-n*p) < 1.5 || !matters(k/n, p) {
			continue
		}
		e := evidence{weight: min(maxEvidence, divergence(n, k, p)/phi*sure(p)), route: r, said: s.statement, k: k, n: n, p: p}
		switch s.kind {
		case saysLog:
			e.kind = kindLog
			e.weight *= s.bad(k > n*p)
		case saysCall:
			e.kind = kindCall
		case saysName:
			e.kind = kindNamed
			if k <= n*p {
				continue
			}
		}
		if e.weight > best.weight {
			best = e
		}
	}
	return best
}

// bad is how much a change of a statement says of a fault: that fewer warnings and errors come is none, and that more lines of
// another severity come says half as much as that they are missing.
func (s *statement) bad(more bool) float64 {
	switch {
	case s.warns && !more:
		return 0
	case !s.warns && more:
		return 0.5
	}
	return 1
}

// matters says whether a share is far enough from the norm for a person to care, however sure it is that it differs: by 0.05, or
// what was rare is twice as frequent, or what nearly always came is missing twice as often.
func matters(q, p float64) bool {
	return math.Abs(q-p) >= 0.05 || q >= 2*p || 1-q >= 2*(1-p)
}

// sure is how much a statement says that comes with probability p: what always or never comes says more than the mix of requests.
func sure(p float64) float64 {
	d := math.Abs(p - 0.5)
	switch {
	case d >= 0.4:
		return 1
	case d <= 0.2:
		return 0.3
	}
	return 0.3 + 0.7*(d-0.2)/0.2
}

// slow is the evidence that runs take longer by themselves.
func (r *route) slow(c *Core) (best evidence) {
	if r.times.n < 5 {
		return best
	}
	return slowest(c.paneNow, &r.own, r.times.n, r.times.mean, r.times.sd, r.times.dispersal, evidence{kind: kindOwn, route: r})
}

func slowest(now int64, panes *[window]latency, n, mean, sd, dispersal float64, as evidence) (best evidence) {
	var sum latency
	for age := range int64(window) {
		if age > now {
			break
		}
		sum.plus(&panes[(now-age)%window])
		if age == 2 {
			continue
		}
		if w := slower(&sum, n, mean, sd, dispersal); w > best.weight {
			best = as
			best.weight, best.n = w, float64(sum.n)
			best.value, best.usually = math.Exp(sum.sum/float64(sum.n))-0.5, math.Exp(mean)-0.5
		}
	}
	return best
}

// usual is the mean and the standard deviation of the gaps of a link, of all links where it is young. sd 0 = not known.
func (l *link) usual(c *Core) (mean, sd float64) {
	switch {
	case l.norm.n >= 5:
		return l.norm.mean, l.norm.sd
	case c.overall.n >= 5:
		return c.overall.mean, c.overall.sd
	}
	return 0, 0
}

// settle tests a link and learns the panes that leave its window.
func (l *link) settle(c *Core) {
	l.norm.rotate(c.epoch)
	c.overall.rotate(c.epoch)
	n, mean, sd, phi := l.norm.n, l.norm.mean, l.norm.sd, l.norm.dispersal
	if n < 5 {
		n, mean, sd, phi = 5, c.overall.mean, c.overall.sd, c.overall.dispersal
		if c.overall.n < 5 {
			n = 0
		}
	}
	as := evidence{kind: kindNetwork, link: l}
	if l.to == nil {
		as.kind = kindDatabase
	}
	e := slowest(c.paneNow, &l.gap, n, mean, sd, phi, as)
	l.evidence, l.slow, l.usually = e.weight, e.value, e.usually
	for i := range l.gap {
		l.calls += float64(l.gap[i].n)
		l.high[i] = max(l.high[i], e.weight)
	}
	if l.to == nil && e.weight > 0 {
		e.weight *= 0.3
		c.add(l.from, e)
	}
	if l.norm.n < 5 {
		for i := range int64(window) {
			l.learn(c, i)
		}
	}
	if l.active = leave(c.paneNow, l.norm.n, func(i int64) bool { return l.gap[i].n > 0 }, func(i int64) { l.learn(c, i) }); !l.active {
		l.high = [window]float64{}
	}
}

func (l *link) learn(c *Core, i int64) {
	if l.gap[i].n > 0 {
		if l.high[i] < surprising {
			l.held = 0
			l.norm.learn(&l.gap[i])
			c.overall.learn(&l.gap[i])
		} else if l.held++; l.held >= maxHeld {
			l.held = 0
			l.norm = latencyNorm{epoch: l.norm.epoch}
			l.norm.refresh()
			l.norm.learn(&l.gap[i])
		}
	}
	l.gap[i], l.high[i] = latency{}, 0
}

// networks sums the gaps of the links into each service.
func (c *Core) networks() {
	for _, s := range c.services {
		var sum, slow, all, weight float64
		var worst *link
		for _, l := range s.in {
			all += l.calls
			if l.evidence >= 3 {
				sum += l.evidence
				slow += l.calls
				if l.evidence > weight {
					worst, weight = l, l.evidence
				}
			}
		}
		if worst == nil || all == 0 {
			continue
		}
		var slowOut, allOut float64
		for _, l := range s.out {
			if l.to == nil {
				continue
			}
			allOut += l.calls
			if l.evidence >= 3 {
				slowOut += l.calls
			}
		}
		shareOut := 0.0
		if allOut > 0 {
			shareOut = slowOut / allOut
		}
		c.add(s, evidence{
			kind: kindNetwork, weight: min(maxEvidence, sum) * slow / all * (1 + 0.25*shareOut), link: worst,
			n: slow, k: all, value: worst.slow, usually: worst.usually,
		})
	}
}

// text is what a person reads of a piece of evidence.
func (e *evidence) text() string {
	switch e.kind {
	case kindLog, kindCall, kindNamed:
		var what string
		switch {
		case e.kind == kindNamed:
			what = e.route.service.Name + ": "
		case e.k < e.n*e.p && e.p >= 0.8:
			what = "missing: "
		case e.k < e.n*e.p:
			what = "rarer: "
		case e.p <= 0.05:
			what = "new: "
		default:
			what = "more often: "
		}
		return fmt.Sprintf("%s%s in %.0f of %.0f runs of %s, %.2f before", what, e.said.text, e.k, e.n, e.route.name, e.p)
	case kindOwn:
		return fmt.Sprintf("slow: own time of %s %s in %.0f runs, %s before", e.route.name, ms(e.value), e.n, ms(e.usually))
	case kindNetwork:
		return fmt.Sprintf("network: gap between %s and %s %s, %s before; %.0f of %.0f calls over slow links", e.link.from.Name, e.link.to.Name, ms(e.value), ms(e.usually), e.n, e.k)
	case kindDatabase:
		return fmt.Sprintf("database: calls to %s take %s, %s before", e.link.database, ms(e.value), ms(e.usually))
	default:
		return e.gauge.text()
	}
}

func ms(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f ms", max(v, 0))
	}
	return fmt.Sprintf("%.0f ms", v)
}

// gaugeKey names a gauge with a limit.
type gaugeKey struct{ cluster, namespace, kind, object, metric string }

// gauge is how much of a limit an object of a service uses.
type gauge struct {
	gaugeKey
	sequence int64
	service  *Service
	seen     int64
	epoch    int64
	ns, sums ring
	// hot is the last high value, with the evidence, against what was usual; it counts until hotUntil, and began at since.
	hot, weight, usually float64
	hotUntil, since      int64
}

const (
	// hotFor is how long a high value counts, and hotIsUsual after how long it is the norm.
	hotFor     = 150 * int64(1e9)
	hotIsUsual = maxHeld * pane
)

// Gauge takes what an object uses of a limit: 1 is all of it. Its texts may be memory of an event.
func (c *Core) Gauge(s *Service, e Entity, metric string, v float64, at int64) {
	if s == nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	c.arrives(at)
	key := gaugeKey{e.Cluster, e.Namespace, e.Kind, e.Name, metric}
	g, ok := c.byGauge[key]
	if !ok {
		if len(c.gauges) >= c.limits.Gauges {
			c.evictGauges()
		}
		c.sequence++
		key = gaugeKey{strings.Clone(key.cluster), strings.Clone(key.namespace), strings.Clone(key.kind), strings.Clone(key.object), strings.Clone(metric)}
		g = &gauge{gaugeKey: key, sequence: c.sequence, service: s}
		c.gauges = append(c.gauges, g)
		c.byGauge[key] = g
	}
	g.service, g.seen = s, c.latest
	c.enqueue(queued{at: at, gauge: g, value: v})
}

// measure takes a value of a gauge whose time has come.
func (c *Core) measure(g *gauge, v float64, at int64) {
	if c.epoch != g.epoch {
		rotate(g.epoch, c.epoch, &g.ns, &g.sums)
		g.epoch = c.epoch
	}
	n := g.ns.sum()
	usual := 0.0
	if n > 0 {
		usual = g.sums.sum() / n
	}
	if n >= 3 && v >= 0.8 && v-usual >= 0.4 {
		if g.since == 0 {
			g.since = at
		}
		if at-g.since < hotIsUsual {
			g.hot, g.usually, g.weight, g.hotUntil = v, usual, min(maxEvidence, 40+20*(v-usual)), at+hotFor
			return
		}
	} else {
		g.since = 0
	}
	g.ns[g.epoch%buckets]++
	g.sums[g.epoch%buckets] += float32(v)
}

func (g *gauge) text() string {
	return fmt.Sprintf("resource: %s of %s is at %.0f %% of its limit, %.0f %% before", g.metric, g.object, 100*g.hot, 100*g.usually)
}

func (c *Core) evictGauges() {
	gone := map[*gauge]bool{}
	for _, g := range oldest(c.gauges, func(g *gauge) (seen, sequence int64) { return g.seen, g.sequence }) {
		gone[g] = true
		c.counts.Gauges++
	}
	c.gauges = slices.DeleteFunc(c.gauges, func(g *gauge) bool {
		if gone[g] {
			delete(c.byGauge, g.gaugeKey)
		}
		return gone[g]
	})
}

// losesLogs says whether the logs of a service have stopped: in each of its routes no run logs anything from some time on, where some lines always came. That is
// no fault of what it does. Runs that log nothing while others do are one. Until the logs of nearly all runs are back, it loses them.
func (s *Service) losesLogs(c *Core) bool {
	if s.lossAt == c.paneNow {
		return s.loses
	}
	s.lossAt, s.loses = c.paneNow, false
	all := uint32(0)
	for _, r := range s.routes {
		if !r.active || r.lines < manyLines {
			continue
		}
		n, mute := uint32(0), uint32(0)
		for age := range min(2, c.paneNow+1) {
			i := (c.paneNow - age) % window
			n += r.n[i] + r.mute[i]
			mute += r.mute[i]
		}
		lost := c.paneNow > 0 && r.lossy[(c.paneNow-1)%window]
		if n < 5 {
			continue
		}
		if 5*mute < n || !lost && 10*min(r.tail, mute) < 9*mute {
			return false
		}
		all += mute
	}
	if s.loses = all >= 5; s.loses {
		c.counts.LogLoss++
	}
	return s.loses
}
