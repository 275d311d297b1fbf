package runs

import (
	"math"
	"math/bits"
)

const (
	// window is how many panes are compared with the norm.
	window = 4
	// buckets of bucketSpan are what a norm holds: the last hour.
	buckets    = 12
	bucketSpan = 300 * int64(1e9)
	// surprising is the evidence from which a pane is not learnt, in nats; suspicious is the weight with which it is all the same.
	surprising = 4.0
	suspicious = 0.05
	// maxHeld panes that were not learnt in a row are the new norm.
	maxHeld = 40
	// maxRuns is how many runs a norm counts for at most.
	maxRuns = 4000
	// calm is how many panes of the expected spread a norm begins with.
	calm = 20
	// manyLines always come in the runs of a route whose service has lost its logs where none comes.
	manyLines = 3
	// leastSD is the least standard deviation of the logarithm of a time.
	leastSD = 0.4
)

// ring is a sum over the last hour, by bucket.
type ring [buckets]float32

func (r *ring) sum() (s float64) {
	for _, v := range r {
		s += float64(v)
	}
	return s
}

// rotate clears the buckets between two of them, of which the later one begins.
func rotate(from, to int64, rings ...*ring) {
	for e := max(from+1, to-buckets+1); e <= to; e++ {
		for _, r := range rings {
			r[e%buckets] = 0
		}
	}
}

// latency counts times of one pane, as logarithms of milliseconds.
type latency struct {
	n, over2, over5 uint32 // values, those over 2 and over 5 standard deviations of the norm
	sum, squares    float64
}

func (l *latency) add(v, mean, sd float64) {
	l.n++
	l.sum += v
	l.squares += v * v
	if sd <= 0 {
		return
	}
	if v > mean+2*sd {
		l.over2++
	}
	if v > mean+5*sd {
		l.over5++
	}
}

func (l *latency) plus(o *latency) {
	l.n += o.n
	l.over2 += o.over2
	l.over5 += o.over5
	l.sum += o.sum
	l.squares += o.squares
}

// latencyNorm is the same of the last hour.
type latencyNorm struct {
	epoch                  int64 // the number of the newest bucket
	ns, sums, squares      ring
	chi, panes             ring
	n, mean, sd, dispersal float64
}

func (l *latencyNorm) rotate(epoch int64) {
	if epoch != l.epoch {
		rotate(l.epoch, epoch, &l.ns, &l.sums, &l.squares, &l.chi, &l.panes)
		l.epoch = epoch
		l.refresh()
	}
}

func (l *latencyNorm) refresh() {
	n := l.ns.sum()
	l.n = min(n, maxRuns)
	l.mean, l.sd = 0, leastSD
	if n > 0 {
		l.mean = l.sums.sum() / n
		l.sd = max(leastSD, math.Sqrt(max(0, l.squares.sum()/n-l.mean*l.mean)))
	}
	l.dispersal = dispersal(&l.chi, &l.panes)
}

// dispersal is how much wider than by chance panes spread, 1 at least.
func dispersal(chi, panes *ring) float64 {
	return max(1, (calm+chi.sum())/(calm+panes.sum()))
}

func (l *latencyNorm) learn(p *latency) {
	if p.n == 0 {
		return
	}
	b := l.epoch % buckets
	if l.n >= 5 {
		d := (p.sum/float64(p.n) - l.mean) / l.sd
		l.chi[b] += float32(min(10, d*d/(1/float64(p.n)+1/l.n)))
		l.panes[b]++
	}
	l.ns[b] += float32(p.n)
	l.sums[b] += float32(p.sum)
	l.squares[b] += float32(p.squares)
	l.refresh()
}

// slower is the evidence that times are longer than the norm says.
func slower(p *latency, n, mean, sd, dispersal float64) float64 {
	if p.n == 0 || n <= 0 {
		return 0
	}
	got := float64(p.n)
	m := p.sum / got
	z := (m - mean) / (sd * math.Sqrt(1/got+1/n))
	if z < 3 || m-mean < 0.7 || got*(math.Exp(m)-math.Exp(mean)) < 20 || p.over2 < 2 {
		return 0
	}
	tail := max(more(got, float64(p.over2), 0.05), more(got, float64(p.over5), 0.003))
	return min(maxEvidence, z*z/2, tail) / dispersal
}

// more is divergence where there are more than expected.
func more(n, k, p float64) float64 {
	if k <= n*p {
		return 0
	}
	return divergence(n, k, p)
}

// divergence is how much less likely k of n are if each comes with probability p than if each comes with probability k/n, in nats.
func divergence(n, k, p float64) (d float64) {
	q := k / n
	if k > 0 {
		d += k * math.Log(q/p)
	}
	if k < n {
		d += (n - k) * math.Log((1-q)/(1-p))
	}
	return d
}

// route is what is known of the runs of a route of a service.
type route struct {
	sequence int64
	service  *Service
	name     string
	seen     int64
	gone     bool // there was no room for it

	said []said
	at   map[uint64]uint8 // their indices, by hash
	// rare and always have the bits of the statements that fewer than 2 % of runs have, and that more than 98 % have.
	rare, always uint64

	n, x   [window]uint32 // runs that nobody below explains, and those that are explained
	mute   [window]uint32 // runs like those of n that logged nothing, where some lines always come
	tail   uint32         // how many of them came behind the last run that logged
	lossy  [window]bool   // the logs of the service stopped while a pane was in the window
	own    [window]latency
	high   [window]float64 // the most evidence while a pane was in the window
	held   int             // panes in a row that were not learnt
	active bool            // some pane in the window has runs

	epoch      int64
	ns, xs     ring
	panes      ring
	runs, also float64 // the sums of ns and xs
	lines      int     // how many lines always come
	times      latencyNorm
}

// said is a statement of a route.
type said struct {
	*statement
	k    [window]uint32
	norm ring
	chi  ring
	sum  float64 // of norm
}

// count counts a run and says whether it is odd.
func (r *route) count(c *Core, said []*statement, explained bool, own int64) (odd bool) {
	i := c.paneNow % window
	if !r.active {
		r.active = true
		r.rotate(c.epoch)
	}
	var mask uint64
	for _, st := range said {
		if explained && st.kind != saysName {
			continue
		}
		at := r.index(c, st)
		mask |= 1 << at
	}
	for m := mask; m != 0; m &= m - 1 {
		r.said[bits.TrailingZeros64(m)].k[i]++
	}
	mean, sd := r.times.mean, r.times.sd
	if r.times.n < 5 {
		sd = 0
	}
	r.own[i].add(logMs(own), mean, sd)
	if explained {
		r.x[i]++
		return false
	}
	if r.lines >= manyLines && !logs(said) {
		r.mute[i]++
		r.tail = min(r.tail, math.MaxUint32-1) + 1
	} else {
		r.n[i]++
		r.tail = 0
	}
	return r.runs >= 10 && (mask&r.rare != 0 || r.always&^mask != 0)
}

func logs(said []*statement) bool {
	for _, st := range said {
		if st.kind == saysLog {
			return true
		}
	}
	return false
}

// index is where a statement of the route is counted. Without room the rarest one gives way.
func (r *route) index(c *Core, st *statement) uint8 {
	if at, ok := r.at[st.hash]; ok {
		return at
	}
	at := len(r.said)
	if at >= min(c.limits.Statements, 64) {
		c.counts.Statements++
		at = r.rarest()
		delete(r.at, r.said[at].hash)
		r.said[at] = said{statement: st}
	} else {
		r.said = append(r.said, said{statement: st})
	}
	r.at[st.hash] = uint8(at)
	r.rare |= 1 << at
	r.always &^= 1 << at
	return uint8(at)
}

func (r *route) rarest() (at int) {
	least := math.Inf(1)
	for i := range r.said {
		n := r.said[i].sum
		for _, k := range r.said[i].k {
			n += float64(k)
		}
		if n < least {
			at, least = i, n
		}
	}
	return at
}

func (r *route) rotate(epoch int64) {
	r.times.rotate(epoch)
	if epoch == r.epoch {
		return
	}
	rotate(r.epoch, epoch, &r.ns, &r.xs, &r.panes)
	for i := range r.said {
		rotate(r.epoch, epoch, &r.said[i].norm, &r.said[i].chi)
	}
	r.epoch = epoch
	r.refresh()
}

// refresh makes again what follows from the buckets.
func (r *route) refresh() {
	r.runs, r.also = r.ns.sum(), r.xs.sum()
	r.rare, r.always, r.lines = 0, 0, 0
	for i := range r.said {
		s := &r.said[i]
		s.sum = s.norm.sum()
		if s.kind == saysName {
			continue // who says so is explained
		}
		switch {
		case s.sum < 0.02*r.runs || s.sum == 0:
			r.rare |= 1 << i
		case s.sum > 0.98*r.runs:
			r.always |= 1 << i
			if s.kind == saysLog {
				r.lines++
			}
		}
	}
}

// forget empties the norm: what is seen now is another one.
func (r *route) forget() {
	r.ns, r.xs, r.panes = ring{}, ring{}, ring{}
	for i := range r.said {
		r.said[i].norm, r.said[i].chi = ring{}, ring{}
	}
	r.times = latencyNorm{epoch: r.times.epoch}
	r.times.refresh()
	r.refresh()
}

// learn adds pane i to the norm and empties it.
func (r *route) learn(i int64) {
	lossy := r.lossy[i] && r.mute[i] > 0 // what was said in it is not known
	r.n[i] += r.mute[i]
	if r.n[i]+r.x[i] > 0 {
		weight := float32(1)
		if r.high[i] >= surprising {
			weight = suspicious
			if r.held++; r.held >= maxHeld {
				r.forget()
				weight = 1
			}
		}
		if weight == 1 {
			r.held = 0
		}
		if lossy {
			r.times.learn(&r.own[i])
		} else {
			r.add(i, weight)
		}
	}
	r.n[i], r.x[i], r.mute[i], r.lossy[i], r.own[i], r.high[i] = 0, 0, 0, false, latency{}, 0
	for s := range r.said {
		r.said[s].k[i] = 0
	}
}

func (r *route) add(i int64, weight float32) {
	b := r.epoch % buckets
	if weight == 1 {
		r.times.learn(&r.own[i])
		if r.n[i] > 0 {
			r.panes[b]++
		}
	}
	for at := range r.said {
		s := &r.said[at]
		if weight == 1 && r.runs >= 5 && r.n[i] > 0 {
			n, total := float64(r.n[i]), r.runs
			if s.kind == saysName {
				n, total = n+float64(r.x[i]), total+r.also
			}
			p := (s.sum + 0.5) / (total + 1)
			d := float64(s.k[i]) - n*p
			s.chi[b] += float32(min(10, d*d/(n*p*(1-p))))
		}
		s.norm[b] += weight * float32(s.k[i])
	}
	r.ns[b] += weight * float32(r.n[i])
	r.xs[b] += weight * float32(r.x[i])
	r.refresh()
}
