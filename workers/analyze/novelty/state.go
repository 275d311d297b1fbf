package novelty

import (
	"math/bits"

	"millrace.dev/millrace/workers/stage/state"
)

// StateVersion is raised when what State writes, or what it means, changes.
const StateVersion = 1

// State writes the detector to a snapshot, or reads it.
func (d *Detector) State(c *state.Codec) {
	state.Int(c, &d.n)
	state.Int(c, &d.age)
	c.Float64(&d.sum)
	c.Float64(&d.tail)
	for i := range d.epochs {
		c.Float32(&d.epochs[i].low)
		c.Float32(&d.epochs[i].high)
	}
	d.fine.state(c)
	d.coarse.state(c)
	made := func(s *scale, n uint64, k *kind) bool { return n < k.warm || s.width > 0 }
	c.Check(made(&d.fine, d.n, &fineKind) && made(&d.coarse, d.n/block, &coarseKind), "a grid without a width")
}

func (s *scale) state(c *state.Codec) {
	c.Float64(&s.lo)
	c.Float64(&s.width)
	c.Float64(&s.count)
	c.Float64(&s.sum)
	for i := range s.ring {
		c.Float32(&s.ring[i])
	}
	for i := range planes {
		c.Float32(&s.step[i])
		c.Float32(&s.held[i])
		plane(c, &s.planes[i])
	}
	c.Check(s.width-s.width == 0 && s.lo-s.lo == 0, "a grid without bounds")
}

// plane writes the rows that have marks. A mark is mostly near the diagonal, so a row is turned until that is among the low bits, which take
// fewer bytes.
func plane(c *state.Codec, rows *[cells]uint32) {
	var there uint32
	for i, row := range rows {
		if row != 0 {
			there |= 1 << i
		}
	}
	state.Int(c, &there)
	for i := range rows {
		if there>>i&1 == 0 {
			continue
		}
		row := bits.RotateLeft32(rows[i], 4-i)
		state.Int(c, &row)
		rows[i] = bits.RotateLeft32(row, i-4)
	}
}

// State writes the alarm to a snapshot, or reads it.
func (a *Alarm) State(c *state.Codec) {
	state.Int(c, &a.until)
	state.Int(c, &a.at)
}

// State writes the run to a snapshot, or reads it.
func (f *Flat) State(c *state.Codec) {
	c.Float64(&f.last)
	state.Int(c, &f.run)
	state.Int(c, &f.longest)
	state.Int(c, &f.runs)
	c.Bool(&f.told)
}

// State writes the rhythm to a snapshot, or reads it.
func (r *Rhythm) State(c *state.Codec) {
	state.Int(c, &r.last)
	state.Int(c, &r.seen)
	c.Float32(&r.interval)
	c.Float32(&r.spread)
	c.Float32(&r.longest)
	state.Int(c, &r.n)
	state.Int(c, &r.class)
	if c.Check(r.class < classes, "a class of intervals"); !c.OK() {
		r.class = 0
	}
	c.Bool(&r.told)
}

// State writes the clock to a snapshot, or reads it.
func (c *Clock) State(to *state.Codec) {
	state.Int(to, &c.newest)
	state.Int(to, &c.mark)
	state.Int(to, &c.total)
	for i := range c.holes {
		state.Int(to, &c.holes[i])
	}
	state.Int(to, &c.wrong)
}
