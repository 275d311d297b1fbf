package novelty

import "math/bits"

const (
	cells  = 32 // in each direction of a plane
	ring   = 16 // the longest lag
	search = 3  // rows above and below that are looked at
	kappa  = 1.0
	hold   = 0.5  // what is left of a distance one value later
	dead   = 0.32 // the sum of distances that is nothing
	excess = 1.28 // the mean excess of a series that has shown none
	grown  = 4    // doublings of a grid for one value, at most
	floor  = 1e-3 // the least width of a grid, in parts of the level
	least  = 1e-9 // and at all
	most   = 9.0  // of an excess, that is learned
	rate   = 0.001
)

// lags are how many values ago the other value of a pair was, for each plane.
var lags = [...]uint64{2, 4, 8, 16}

const planes = len(lags)

// kind is what tells two scales apart.
type kind struct {
	warm   uint64  // inputs before the grid is made
	forget float64 // the share of what is known of the excess that goes with each input
	prior  float64 // the weight of excess, in inputs
}

// fine takes each value, coarse the mean of each block of values. Their times are the same in values.
var (
	fineKind   = kind{warm: 50, forget: 0.001, prior: 5}
	coarseKind = kind{warm: 12, forget: 0.024, prior: 0.2}
)

// scale is the planes of a series at one scale. The zero value is ready.
type scale struct {
	// planes have a row for each cell of the older value of a pair, and in it a bit for each cell of the newer one.
	planes [planes][cells]uint32
	ring   [ring]float32 // the last inputs
	// The grid covers [lo, lo+width). Until it is made these are the least and the greatest input.
	lo, width float64
	step      [planes]float32 // the mean difference of the values of a pair
	held      [planes]float32 // the distance of each plane, which fades
	// count and sum are of the excesses.
	count, sum float64
}

// add takes input x; n is the number of inputs before it. The result is -log10 of the tail probability.
func (s *scale) add(x float64, n uint64, k *kind) float64 {
	if n < k.warm {
		s.warm(x, n, k)
		return 0
	}
	total := s.distance(x, n, k)
	s.grow(x)
	s.mark(x, n)
	s.ring[n%ring] = float32(x)
	return s.calibrate(total, k)
}

// warm takes an input before the grid is made, and makes it with the last one.
func (s *scale) warm(x float64, n uint64, k *kind) {
	if n == 0 {
		s.lo, s.width = x, x
	}
	s.lo, s.width = min(s.lo, x), max(s.width, x)
	s.ring[n%ring] = float32(x)
	if n++; n < k.warm {
		return
	}
	low, high := s.lo, s.width
	s.width = 1.1 * max(high-low, floor*level(low, high), least)
	s.lo = float64((low+high)/2) - float64(s.width/2)
	for at := n - min(n, ring); at < n; at++ {
		s.markPairs(float64(s.ring[at%ring]), at, n-min(n, ring))
	}
}

// level is how large values between low and high are.
func level(low, high float64) float64 { return max(-low, low, -high, high) }

// distance is the sum over the planes of how far the pairs of x are from the nearest one, in cells of the usual step.
func (s *scale) distance(x float64, n uint64, k *kind) (total float64) {
	cell := s.width / cells
	now := (x - s.lo) / cell
	weight := max(rate, 1/float64(n-k.warm+1))
	for i, lag := range lags {
		if n < lag {
			continue
		}
		before := float64(s.ring[(n-lag)%ring])
		v := nearest(&s.planes[i], (before-s.lo)/cell, now)
		step := float64(s.step[i])
		if v > 0 {
			v /= 1 + kappa*step/cell
		}
		s.step[i] = float32(step + float64(weight*(min(abs(x-before), s.width)-step)))
		v = max(v, float64(hold*float64(s.held[i])))
		s.held[i] = float32(v)
		total += v
	}
	return total
}

func abs(x float64) float64 { return max(x, -x) }

// nearest is the distance from a point to the nearest cell that is marked, in cells, the larger of those along both axes; at
// most search+1. A cell is the square behind its corner.
func nearest(rows *[cells]uint32, row, column float64) float64 {
	const far = search + 1
	row, column = within(row), within(column)
	i, j := down(row), down(column)
	if i >= 0 && i < cells && j >= 0 && j < cells && rows[i]&(1<<j) != 0 {
		return 0
	}
	best := float64(far)
	for r := max(i-search, 0); r <= min(i+search, cells-1); r++ {
		across := 0.0
		switch {
		case r < i:
			across = row - float64(r+1)
		case r > i:
			across = float64(r) - row
		}
		if across >= best || rows[r] == 0 {
			continue
		}
		best = min(best, max(across, along(rows[r], column, j)))
	}
	return best
}

// along is the distance from a column to the nearest bit of a row that has one. j is the cell of the column, -1 or cells outside.
func along(row uint32, column float64, j int) float64 {
	j = min(max(j, -1), cells)
	if j >= 0 && row>>j&1 == 1 {
		return 0
	}
	best := float64(cells)
	if above := uint64(row) >> (j + 1); above != 0 {
		best = float64(j+1+bits.TrailingZeros64(above)) - column
	}
	if below := uint64(row) & (1<<max(j, 0) - 1); below != 0 {
		best = min(best, column-float64(bits.Len64(below)))
	}
	return best
}

// within bounds a place on an axis: what is that far outside of the grid is far from all cells. A conversion of what no
// integer holds differs between processors.
func within(place float64) float64 { return min(max(place, -2*search-2), cells+2*search+2) }

// down rounds down.
func down(x float64) int {
	i := int(x)
	if float64(i) > x {
		i--
	}
	return i
}

// outside says whether x is outside of the grid.
func (s *scale) outside(x float64) bool { return x < s.lo || x >= s.lo+s.width }

// far says whether x is outside by more than half of its width.
func (s *scale) far(x float64) bool {
	return x < s.lo-float64(s.width/2) || x > float64(s.lo+s.width)+float64(s.width/2)
}

// grow doubles the grid towards x while x is outside.
func (s *scale) grow(x float64) {
	for range grown {
		if !s.outside(x) {
			return
		}
		shift := 0
		if x < s.lo {
			s.lo -= s.width
			shift = cells / 2
		}
		s.width *= 2
		for i := range s.planes {
			halve(&s.planes[i], shift)
		}
	}
}

// halve halves the resolution of a plane: two rows and two columns become one, at shift.
func halve(rows *[cells]uint32, shift int) {
	var out [cells]uint32
	for i := range cells / 2 {
		out[shift+i] = pack(rows[2*i]|rows[2*i+1]) << shift
	}
	*rows = out
}

// pack has a bit for each two bits of x, set when one of them is.
func pack(x uint32) uint32 {
	x = (x | x>>1) & 0x55555555
	x = (x | x>>1) & 0x33333333
	x = (x | x>>2) & 0x0f0f0f0f
	x = (x | x>>4) & 0x00ff00ff
	return (x | x>>8) & 0x0000ffff
}

// mark marks the pairs of x, with n inputs before it.
func (s *scale) mark(x float64, n uint64) { s.markPairs(x, n, 0) }

// markPairs marks those pairs whose older value is not before the input of a number.
func (s *scale) markPairs(x float64, n, from uint64) {
	column := s.cell(x)
	for i, lag := range lags {
		if n < from+lag {
			break
		}
		s.planes[i][s.cell(float64(s.ring[(n-lag)%ring]))] |= 1 << column
	}
}

// cell is the cell of a value; those of the border take what is outside.
func (s *scale) cell(x float64) int {
	return min(max(down(within((x-s.lo)/(s.width/cells))), 0), cells-1)
}

// calibrate turns a sum of distances into -log10 of an exponential tail, and learns it.
func (s *scale) calibrate(total float64, k *kind) (result float64) {
	over := total - dead
	if over > 0 {
		mean := (s.sum + float64(k.prior*excess)) / (s.count + k.prior)
		result = float64(0.4343*over) / mean
	}
	s.count = float64(s.count * (1 - k.forget))
	s.sum = float64(s.sum * (1 - k.forget))
	if over > 0 {
		s.count++
		s.sum += min(over, most)
	}
	return result
}

// widest is the lag of the plane with the greatest distance; 0 = there is none.
func (s *scale) widest() (lag uint64) {
	best := float32(0)
	for i, held := range s.held {
		if held > best {
			best, lag = held, lags[i]
		}
	}
	return lag
}
