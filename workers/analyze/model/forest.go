package model

import (
	"errors"
	"fmt"
	"math"
)

// What a split takes for missing, and where it sends that.
const (
	defaultLeft = 1 << iota
	nanMissing
	zeroMissing
)

// zeroRange is how far from 0 a value counts as zero: kZeroThreshold of LightGBM, which is a float.
const zeroRange = float64(float32(1e-35))

// node sends a value <= threshold to child 0, else to child 1. A leaf is a node that is its own child, whatever the value; its threshold is what it adds.
type node struct {
	threshold float64
	child     [2]int32
	feature   uint16
	nan       uint8 // the child of NaN
	zeros     bool  // zero goes where NaN goes
}

// forest is an ensemble of trees, all in the same slice.
type forest struct {
	nodes []node
	roots []int32
	// floats says that the leaves are summed up as floats, in the order of the trees.
	floats bool
	base   float64
	// mean says that the sum is divided by the number of trees.
	mean bool
	link func(float64) float64
}

func (f *forest) score(x []float64) float64 {
	sum, float := f.base, float32(f.base)
	add := func(leaf int32) {
		v := f.nodes[leaf].threshold
		sum += v
		float += float32(v)
	}
	roots := f.roots
	for ; len(roots) >= lanes; roots = roots[lanes:] {
		for _, leaf := range f.walkMany([lanes]int32(roots), x) {
			add(leaf)
		}
	}
	for _, root := range roots {
		add(f.walk(root, x))
	}
	if f.floats {
		sum = float64(float)
	}
	if f.mean {
		sum /= float64(len(f.roots))
	}
	return f.link(sum)
}

// lanes is how many trees are walked together. A walk alone waits for memory at each node, and for guesses of the processor that are wrong.
const lanes = 4

// walkMany is walk from several roots.
func (f *forest) walkMany(at [lanes]int32, x []float64) [lanes]int32 {
	a, b, c, d := at[0], at[1], at[2], at[3]
	nodes := f.nodes
	for {
		nextA, nextB := nodes[a].next(x), nodes[b].next(x)
		nextC, nextD := nodes[c].next(x), nodes[d].next(x)
		if (nextA^a)|(nextB^b)|(nextC^c)|(nextD^d) == 0 {
			return [lanes]int32{a, b, c, d}
		}
		a, b, c, d = nextA, nextB, nextC, nextD
	}
}

// walk returns the leaf that x comes to.
func (f *forest) walk(at int32, x []float64) int32 {
	for {
		next := f.nodes[at].next(x)
		if next == at {
			return at
		}
		at = next
	}
}

// next is the child that x goes to. The comparison with the threshold is no branch for the processor, which could not guess it.
func (n *node) next(x []float64) int32 {
	v := x[n.feature]
	var right uint8
	if v > n.threshold {
		right = 1
	}
	if math.IsNaN(v) || n.zeros && math.Abs(v) <= zeroRange {
		right = n.nan
	}
	return n.child[right&1]
}

// split is an inner node as a file has it. Children count from 0 in the tree; one below 0 is the leaf ^child.
type split struct {
	threshold   float64
	left, right int32
	feature     uint16
	missing     uint8
}

// nan is the child of NaN. Where nothing is missing, NaN is 0.
func (s *split) nan() uint8 {
	left := s.missing&defaultLeft != 0
	if s.missing&(nanMissing|zeroMissing) == 0 {
		left = 0 <= s.threshold
	}
	if left {
		return 0
	}
	return 1
}

// tree is one as its file has it.
type tree struct {
	splits []split
	leaves []float64
	root   int32
}

// add checks a tree and appends it. features is how many the model has.
func (f *forest) add(t *tree, features int) error {
	if len(f.roots) >= maxTrees {
		return fmt.Errorf("the model has more than %d trees", maxTrees)
	}
	if len(f.nodes)+len(t.splits)+len(t.leaves) > maxNodes {
		return fmt.Errorf("the model has more than %d nodes and leaves", maxNodes)
	}
	if err := t.check(features); err != nil {
		return err
	}
	first := int32(len(f.nodes))
	at := func(child int32) int32 {
		if child < 0 {
			return first + int32(len(t.splits)) + ^child
		}
		return first + child
	}
	for _, s := range t.splits {
		f.nodes = append(f.nodes, node{
			threshold: s.threshold, child: [2]int32{at(s.left), at(s.right)}, feature: s.feature, nan: s.nan(), zeros: s.missing&zeroMissing != 0,
		})
	}
	for i, v := range t.leaves {
		self := at(^int32(i))
		f.nodes = append(f.nodes, node{threshold: v, child: [2]int32{self, self}})
	}
	f.roots = append(f.roots, at(t.root))
	return nil
}

var errShape = errors.New("is no tree: a node is reached twice, or not at all, or does not exist")

// check walks the tree from its root: each node and each leaf is reached once, not too deep, and asks for a feature that there is.
func (t *tree) check(features int) error {
	type step struct {
		at    int32
		depth int
	}
	splits, leaves := make([]bool, len(t.splits)), make([]bool, len(t.leaves))
	reached := 0
	for open := []step{{t.root, 0}}; len(open) > 0; {
		s := open[len(open)-1]
		open = open[:len(open)-1]
		reached++
		if s.at < 0 {
			at := ^s.at
			if int(at) >= len(leaves) || leaves[at] {
				return errShape
			}
			leaves[at] = true
			if !finite(t.leaves[at]) {
				return fmt.Errorf("leaf %d is %g, which is no number", at, t.leaves[at])
			}
			continue
		}
		if int(s.at) >= len(splits) || splits[s.at] {
			return errShape
		}
		splits[s.at] = true
		n := &t.splits[s.at]
		switch {
		case s.depth >= maxDepth:
			return fmt.Errorf("is deeper than %d nodes", maxDepth)
		case int(n.feature) >= features:
			return fmt.Errorf("node %d asks for feature %d, the model has %d", s.at, n.feature, features)
		case math.IsNaN(n.threshold):
			return fmt.Errorf("node %d has no number as its threshold", s.at)
		}
		open = append(open, step{n.left, s.depth + 1}, step{n.right, s.depth + 1})
	}
	if reached != len(splits)+len(leaves) {
		return errShape
	}
	return nil
}

// The links from a sum of leaves, or of terms, to a score.

func identity(x float64) float64 { return x }

// logistic with a slope; 1 is the usual one.
func logistic(slope float64) func(float64) float64 {
	return func(x float64) float64 { return 1 / (1 + math.Exp(-slope*x)) }
}
