package novelty

import "math"

// The same detector once more, in the words of its recipe: planes of truth values, every cell looked at, no tricks with bits.

type plainScale struct {
	kind       kind
	inputs     []float64 // all
	seen       [planes][cells][cells]bool
	lo, width  float64
	step, held [planes]float32
	count, sum float64
}

// at is an input as the ring keeps it.
func (s *plainScale) at(i int) float64 { return float64(float32(s.inputs[i])) }

func (s *plainScale) cell(x float64) int {
	return int(math.Max(0, math.Min(cells-1, math.Floor((x-s.lo)/(s.width/cells)))))
}

func (s *plainScale) add(x float64) float64 {
	n := len(s.inputs)
	s.inputs = append(s.inputs, x)
	if n < int(s.kind.warm) {
		if n+1 == int(s.kind.warm) {
			s.start()
		}
		return 0
	}
	total, cell := 0.0, s.width/cells
	for k, lag := range lags {
		if n < int(lag) {
			continue
		}
		o := s.at(n - int(lag))
		v := s.nearest(k, (o-s.lo)/cell, (x-s.lo)/cell) / (1 + float64(s.step[k])/cell)
		weight := math.Max(0.001, 1/float64(n-int(s.kind.warm)+1))
		change := float64(weight * (math.Min(math.Abs(x-o), s.width) - float64(s.step[k])))
		s.step[k] = float32(float64(s.step[k]) + change)
		v = math.Max(v, 0.5*float64(s.held[k]))
		s.held[k] = float32(v)
		total += v
	}
	s.grow(x)
	for k, lag := range lags {
		if n >= int(lag) {
			s.seen[k][s.cell(s.at(n-int(lag)))][s.cell(x)] = true
		}
	}
	return s.calibrate(total)
}

func (s *plainScale) start() {
	low, high := s.inputs[0], s.inputs[0]
	for _, x := range s.inputs {
		low, high = math.Min(low, x), math.Max(high, x)
	}
	width := math.Max(high-low, math.Max(1e-3*math.Max(math.Abs(low), math.Abs(high)), 1e-9))
	s.width = 1.1 * width
	s.lo = float64((low+high)/2) - float64(s.width/2)
	n := len(s.inputs)
	first := max(0, n-16)
	for k, lag := range lags {
		for i := first; i+int(lag) < n; i++ {
			s.seen[k][s.cell(s.at(i))][s.cell(s.at(i+int(lag)))] = true
		}
	}
}

// nearest looks at all cells.
func (s *plainScale) nearest(k int, fi, fj float64) float64 {
	best := 4.0
	for i := range cells {
		if math.Abs(float64(i)-math.Floor(fi)) > 3 {
			continue
		}
		for j := range cells {
			if s.seen[k][i][j] {
				best = math.Min(best, math.Max(toSquare(fi, i), toSquare(fj, j)))
			}
		}
	}
	return best
}

// toSquare is how far a place is from [i, i+1).
func toSquare(f float64, i int) float64 {
	switch c := math.Floor(f); {
	case c < float64(i):
		return float64(i) - f
	case c > float64(i):
		return f - float64(i+1)
	}
	return 0
}

func (s *plainScale) grow(x float64) {
	for range 4 {
		shift := 0
		switch {
		case x < s.lo:
			s.lo -= s.width
			shift = cells / 2
		case x < s.lo+s.width:
			return
		}
		s.width *= 2
		for k := range s.seen {
			s.seen[k] = halved(s.seen[k], shift)
		}
	}
}

func halved(seen [cells][cells]bool, shift int) (out [cells][cells]bool) {
	for i := range cells {
		for j := range cells {
			if seen[i][j] {
				out[shift+i/2][shift+j/2] = true
			}
		}
	}
	return out
}

func (s *plainScale) calibrate(total float64) (result float64) {
	e := total - 0.32
	if e > 0 {
		result = float64(0.4343*e) / ((s.sum + float64(s.kind.prior*1.28)) / (s.count + s.kind.prior))
	}
	s.count = float64(s.count * (1 - s.kind.forget))
	s.sum = float64(s.sum * (1 - s.kind.forget))
	if e > 0 {
		s.count++
		s.sum += math.Min(e, 9)
	}
	return result
}

type plainDetector struct {
	fine, coarse plainScale
	tail         float64
	values       []float64 // since the series began anew
}

func newPlain() *plainDetector {
	return &plainDetector{
		fine:   plainScale{kind: kind{warm: 50, forget: 0.001, prior: 5}},
		coarse: plainScale{kind: kind{warm: 12, forget: 0.024, prior: 0.2}},
	}
}

func (d *plainDetector) add(x float64) (score float64) {
	far := len(d.values) >= 50 && (x < d.fine.lo-float64(d.fine.width/2) || x > float64(d.fine.lo+d.fine.width)+float64(d.fine.width/2))
	s := d.fine.add(x)
	d.values = append(d.values, x)
	n := len(d.values)
	if n%24 == 0 {
		sum := 0.0
		for _, v := range d.values[n-24:] {
			sum += v
		}
		d.tail = d.coarse.add(sum / 24)
	}
	if n/24 >= 16 {
		s += d.tail
	}
	if far {
		s = math.Max(s, 2.25)
	}
	if n >= 200 {
		score = math.Min(16, float64(4*s)/(1+300/float64(n)))
	}
	if n%2000 == 0 {
		low, high := math.Inf(1), math.Inf(-1)
		for _, v := range d.values[max(0, n-4000):] {
			low, high = math.Min(low, v), math.Max(high, v)
		}
		level := math.Max(math.Abs(low), math.Abs(high))
		if high-low < d.fine.width/16 && d.fine.width > 4*math.Max(1e-3*level, 1e-9) {
			*d = *newPlain()
		}
	}
	return score
}
