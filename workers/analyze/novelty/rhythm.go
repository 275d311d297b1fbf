package novelty

import (
	"math"
	"math/bits"
	"time"
)

// classes are those of intervals, by powers of two of a second.
const classes = 20

// outOfLine is how far behind the newest value one lies that may say that the clock was wrong, and mostWrong how many of them in a row do.
const (
	outOfLine = time.Hour
	mostWrong = 8
	// mostBacklog is how far back a backlog reaches; a time that is further ahead was wrong.
	mostBacklog = 24 * time.Hour
)

// Clock is the event time of many series together: it goes on while values come, whosever they are. A hole in the whole input is no silence of
// a series, so it counts little: for a series with a value a minute no more than two minutes. The zero value is ready.
type Clock struct {
	newest int64 // Unix nanoseconds
	mark   int64 // up to which time was counted, while the clock is behind that
	total  int64 // that the newest time has advanced by, without holes of the longest class
	holes  [classes]int64
	wrong  int // values in a row that are far behind
}

// Add takes the time of a value, in Unix nanoseconds.
func (c *Clock) Add(at int64) {
	if c.newest == 0 {
		c.newest = at
		return
	}
	after := at - c.newest
	if after <= 0 {
		c.behind(at, after)
		return
	}
	from := max(c.newest, c.mark)
	c.newest, c.wrong = at, 0
	if after = at - from; after <= 0 {
		return
	}
	c.total += min(after, limit(classes-1))
	for i := 0; i < classes && after > limit(i); i++ {
		c.holes[i] += min(after, limit(classes-1)) - limit(i)
	}
}

// behind takes a time that is not later. One value from far ahead must not stop the clock for ever. A backlog that comes among newer values must not have the same
// time counted twice.
func (c *Clock) behind(at, after int64) {
	if after > -int64(outOfLine) {
		c.wrong = 0
		return
	}
	if c.wrong++; c.wrong < mostWrong {
		return
	}
	if c.mark = max(c.mark, c.newest); c.mark-at > int64(mostBacklog) {
		c.mark = 0
	}
	c.newest, c.wrong = at, 0
}

// Newest is the newest time, in Unix nanoseconds; 0 = there is none.
func (c *Clock) Newest() int64 { return c.newest }

// limit is the most that one advance of the clock counts in a class.
func limit(class int) int64 { return int64(time.Second) << class }

// in is the time that has passed as series of a class see it.
func (c *Clock) in(class uint8) int64 { return c.total - c.holes[class] }

// A rhythm is steady when 30 intervals differ by a quarter on average. Silence is five intervals, three times the longest silence before, and a minute.
const (
	steadyAfter  = 30
	steadyPart   = 0.25
	silentTimes  = 5
	silentLonger = 3
	silentLeast  = time.Minute
	rhythmWeight = 0.02
	clipInterval = 4 // intervals, of one that is learned
)

// Rhythm finds a series that falls silent. The zero value is ready.
type Rhythm struct {
	last             int64   // the time of the newest value, Unix nanoseconds
	seen             int64   // what the clock showed at the last value, in the class
	interval, spread float32 // mean and mean deviation, in seconds
	longest          float32 // silence before, in seconds
	n                uint8   // intervals, as far as they count
	class            uint8
	told             bool // that it is silent
}

// Add takes the time of a value. The clock has taken it already.
func (r *Rhythm) Add(at int64, c *Clock) {
	if r.last == 0 {
		r.last, r.seen = at, c.in(r.class)
		return
	}
	silent := float32(time.Duration(c.in(r.class) - r.seen).Seconds())
	if r.n >= steadyAfter {
		r.longest = max(r.longest, silent)
	}
	if after := at - r.last; after > 0 {
		r.learn(float32(time.Duration(after).Seconds()))
		r.last, r.told = at, false
	}
	r.seen = c.in(r.class)
}

func (r *Rhythm) learn(interval float32) {
	if r.n == 0 {
		r.interval = interval
	}
	interval = min(interval, clipInterval*r.interval)
	r.n = min(r.n+1, steadyAfter)
	weight := float32(rhythmWeight)
	if r.n < steadyAfter {
		weight = 1 / float32(r.n)
	}
	off := interval - r.interval
	r.interval += float32(weight * off)
	r.spread += float32(weight * (max(off, -off) - r.spread))
	r.class = classOf(r.interval)
}

// classOf is the class of which one advance of the clock counts an interval, and less than two.
func classOf(interval float32) uint8 {
	return uint8(min(bits.Len64(uint64(math.Ceil(float64(interval)))-1), classes-1))
}

// Steady says whether the rhythm is known.
func (r *Rhythm) Steady() bool { return r.n >= steadyAfter && r.spread <= steadyPart*r.interval }

// Silence says whether the series has fallen silent, for how long it has been, and how long silences were before at most. It says so until Tell, and
// again when a later value has come.
func (r *Rhythm) Silence(c *Clock) (silent, longest time.Duration, is bool) {
	if r.told || !r.Steady() {
		return 0, 0, false
	}
	silent, longest = time.Duration(c.in(r.class)-r.seen), seconds(max(r.longest, r.interval))
	if silent < silentLeast || silent < silentLonger*longest || silent < silentTimes*r.Interval() {
		return 0, 0, false
	}
	return silent, longest, true
}

// Tell remembers that the silence was told.
func (r *Rhythm) Tell() { r.told = true }

// Interval is the usual time between two values.
func (r *Rhythm) Interval() time.Duration { return seconds(r.interval) }

// Last is the time of the newest value, in Unix nanoseconds.
func (r *Rhythm) Last() int64 { return r.last }

func seconds(s float32) time.Duration {
	return time.Duration(float64(s) * float64(time.Second))
}
