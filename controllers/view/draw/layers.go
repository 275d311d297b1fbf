package draw

import (
	"cmp"
	"slices"

	"millrace.dev/millrace/controllers/view"
)

// node is a stage, the ingress, or a point through which an edge goes on.
type node struct {
	stage *view.Stage // nil for the ingress and for points
	name  string      // empty for points
	layer int
	outs  []*out
	ins   int // how many segments lead here
	place float64

	x, width int // where it is drawn
}

func (n *node) point() bool { return n.name == "" }

// out is where a port leaves a node: segments to nodes of the next layer.
type out struct {
	port   string
	memory bool // no stream stores it
	to     []*node
	at     int // where it is drawn
}

// layers are the nodes of a graph, from the ingress on.
type layers [][]*node

// layersOf puts the stages of a graph into layers. Ports that nobody reads, and what a stage reads of itself, are no edges here.
func layersOf(g *view.Graph) layers {
	nodes := map[string]*node{view.PortIngress: {name: view.PortIngress}}
	order := []*node{nodes[view.PortIngress]}
	for i := range g.Stages {
		n := &node{stage: &g.Stages[i], name: g.Stages[i].Name, layer: 1}
		nodes[n.name] = n
		order = append(order, n)
	}
	// A stage stands behind what it reads (plan.Plan), so that one pass in its order would do; other orders take more of them.
	for range order {
		for _, e := range g.Edges {
			if e.To != "" && e.To != e.From && nodes[e.From] != nil && nodes[e.To] != nil {
				nodes[e.To].layer = min(max(nodes[e.To].layer, nodes[e.From].layer+1), len(order))
			}
		}
	}
	var all layers
	put := func(n *node) {
		for len(all) <= n.layer {
			all = append(all, nil)
		}
		all[n.layer] = append(all[n.layer], n)
	}
	for _, n := range order {
		put(n)
	}
	points := map[*out]map[int]*out{} // by the port and the layer
	for _, e := range g.Edges {
		from, to := nodes[e.From], nodes[e.To]
		if e.To == "" || from == nil || to == nil || to.layer <= from.layer {
			continue
		}
		at := from.out(e.Port, e.Stream == "")
		if points[at] == nil {
			points[at] = map[int]*out{}
		}
		last := at
		for layer := from.layer + 1; layer < to.layer; layer++ {
			if points[at][layer] == nil {
				p := &node{layer: layer, ins: 1}
				put(p)
				last.to = append(last.to, p)
				points[at][layer] = p.out(e.Port, e.Stream == "")
			}
			last = points[at][layer]
		}
		last.to = append(last.to, to)
		to.ins++
	}
	all.sort()
	return all
}

func (n *node) out(port string, memory bool) *out {
	for _, o := range n.outs {
		if o.port == port {
			return o
		}
	}
	n.outs = append(n.outs, &out{port: port, memory: memory})
	return n.outs[len(n.outs)-1]
}

// sweeps is how often layers are ordered by their neighbours.
const sweeps = 8

// sort orders the nodes of each layer by the mean place of those above them and then of those below, and keeps the best order.
func (all layers) sort() {
	best, crossings := all.clone(), all.crossings()
	for sweep := range sweeps {
		for i := range all {
			layer, down := all[i], sweep%2 == 0
			if !down {
				layer = all[len(all)-1-i]
			}
			all.arrange(layer, down)
		}
		if n := all.crossings(); n < crossings {
			best, crossings = all.clone(), n
		}
	}
	copy(all, best)
	for _, layer := range all { // ports leave in the order of where they lead
		for _, n := range layer {
			slices.SortStableFunc(n.outs, func(a, b *out) int { return cmp.Compare(all.meanPlace(a), all.meanPlace(b)) })
		}
	}
}

func (all layers) meanPlace(o *out) (mean float64) {
	for _, to := range o.to {
		mean += float64(slices.Index(all[to.layer], to)) / float64(len(o.to))
	}
	return mean
}

func (all layers) arrange(layer []*node, down bool) {
	for k, n := range layer {
		sum, count := 0.0, 0
		if down {
			if n.layer > 0 {
				for i, above := range all[n.layer-1] {
					for _, o := range above.outs {
						for range times(o.to, n) {
							sum, count = sum+float64(i), count+1
						}
					}
				}
			}
		} else {
			for _, o := range n.outs {
				for _, to := range o.to {
					sum, count = sum+float64(slices.Index(all[to.layer], to)), count+1
				}
			}
		}
		n.place = float64(k)
		if count > 0 {
			n.place = sum / float64(count)
		}
	}
	slices.SortStableFunc(layer, func(a, b *node) int { return cmp.Compare(a.place, b.place) })
}

func times(all []*node, n *node) (count int) {
	for _, one := range all {
		if one == n {
			count++
		}
	}
	return count
}

func (all layers) clone() layers {
	c := make(layers, len(all))
	for i := range all {
		c[i] = slices.Clone(all[i])
	}
	return c
}

// crossings is how many pairs of segments cross.
func (all layers) crossings() (n int) {
	for i := 0; i+1 < len(all); i++ {
		place := map[*node]int{}
		for k, below := range all[i+1] {
			place[below] = k
		}
		type segment struct{ from, to int }
		var segments []segment
		for k, above := range all[i] {
			for _, o := range above.outs {
				for _, to := range o.to {
					segments = append(segments, segment{k, place[to]})
				}
			}
		}
		for k, a := range segments {
			for _, b := range segments[:k] {
				if (a.from-b.from)*(a.to-b.to) < 0 {
					n++
				}
			}
		}
	}
	return n
}

// position places the nodes of each layer from left to right, each below the middle of those above it where there is room, gap apart. It returns
// how wide all is.
func (all layers) position(gap int) (width int) {
	for i, layer := range all {
		next := 0
		for _, n := range layer {
			want, count := 0, 0
			if i > 0 {
				for _, above := range all[i-1] {
					for _, o := range above.outs {
						if slices.Contains(o.to, n) {
							want, count = want+above.x+above.width/2, count+1
						}
					}
				}
			}
			if count > 0 {
				want = want/count - n.width/2
			}
			n.x = max(next, want)
			next = n.x + n.width + gap
		}
		// What stands too far to the right because of its neighbours moves the others to the left, as far as they go.
		if i > 0 && len(layer) > 1 {
			all.balance(i)
		}
		for _, n := range layer {
			width = max(width, n.x+n.width)
		}
	}
	return width
}

// balance moves a layer to the left by half of how far it stands right of what is above it.
func (all layers) balance(i int) {
	layer := all[i]
	left, right := layer[0], layer[len(layer)-1]
	lo, hi := 1<<30, 0
	for _, above := range all[i-1] {
		if len(above.outs) > 0 {
			lo, hi = min(lo, above.x), max(hi, above.x+above.width)
		}
	}
	middle, want := (left.x+right.x+right.width)/2, (lo+hi)/2
	shift := min(middle-want, left.x)
	if hi == 0 || shift <= 0 {
		return
	}
	for _, n := range layer {
		n.x -= shift
	}
}
