package model

import (
	"errors"
	"fmt"
	"math"
)

// isolationFile is an isolation forest (Liu, Ting and Zhou 2008) as scikit-learn trains it.
type isolationFile struct {
	Format   string   `json:"format"` // isolationFormat
	Features []string `json:"features"`
	// MaxSamples is how many samples each tree was grown from.
	MaxSamples int             `json:"maxSamples"`
	Trees      []isolationTree `json:"trees"`
}

// isolationTree has its nodes in lists; the first one is the root. A leaf has -1 as both of its children.
type isolationTree struct {
	Feature   []int32   `json:"feature"`
	Threshold []float64 `json:"threshold"`
	Left      []int32   `json:"left"`
	Right     []int32   `json:"right"`
	Samples   []float64 `json:"samples"` // that came to the node in training
}

func readIsolation(data []byte) (*Model, error) {
	var file isolationFile
	if err := strict(data, &file); err != nil {
		return nil, err
	}
	if file.Format != isolationFormat {
		return nil, fmt.Errorf("format is %q, must be %s", clip(file.Format), isolationFormat)
	}
	if file.MaxSamples < 2 {
		return nil, fmt.Errorf("maxSamples is %d, at least 2", file.MaxSamples)
	}
	if len(file.Trees) == 0 {
		return nil, errors.New("it has no tree")
	}
	usual := pathLength(float64(file.MaxSamples))
	// The score is that of the paper: 2^(-mean path / usual path), 0 to 1.
	f := &forest{mean: true, link: func(mean float64) float64 { return math.Exp2(-mean / usual) }}
	m := &Model{rounds: true, complete: true, eval: f, trees: len(file.Trees)}
	if err := m.name(file.Features, len(file.Features)); err != nil {
		return nil, err
	}
	for i := range file.Trees {
		t, err := file.Trees[i].tree()
		if err == nil {
			err = f.add(t, len(m.features))
		}
		if err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
	}
	return m, nil
}

// tree has the length of the path as the value of each leaf: how deep it is, and how much deeper the samples in it would be alone.
func (x *isolationTree) tree() (*tree, error) {
	n := len(x.Left)
	if n == 0 || len(x.Right) != n || len(x.Feature) != n || len(x.Threshold) != n || len(x.Samples) != n {
		return nil, errors.New("its lists must all have the same number of values, at least 1")
	}
	t := &tree{}
	depth := make([]int, n)
	seen := make([]bool, n)
	seen[0] = true
	at := make([]int32, n)
	// A child stands behind its parent, so one pass knows all depths.
	for i := range n {
		if !seen[i] {
			return nil, errShape
		}
		left, right := x.Left[i], x.Right[i]
		if left == -1 && right == -1 {
			if !(x.Samples[i] >= 1) {
				return nil, fmt.Errorf("node %d has %g samples, at least 1", i, x.Samples[i])
			}
			at[i] = ^int32(len(t.leaves))
			t.leaves = append(t.leaves, float64(depth[i])+pathLength(x.Samples[i]))
			continue
		}
		for _, child := range [...]int32{left, right} {
			if int(child) <= i || int(child) >= n || seen[child] {
				return nil, errShape
			}
			seen[child], depth[child] = true, depth[i]+1
		}
		if x.Feature[i] < 0 || x.Feature[i] >= MaxFeatures {
			return nil, fmt.Errorf("node %d asks for feature %d", i, x.Feature[i])
		}
		at[i] = int32(len(t.splits))
		t.splits = append(t.splits, split{threshold: x.Threshold[i], left: left, right: right, feature: uint16(x.Feature[i])})
	}
	t.root = at[0]
	for i := range t.splits {
		t.splits[i].left, t.splits[i].right = at[t.splits[i].left], at[t.splits[i].right]
	}
	return t, nil
}

// pathLength is the mean length of a path in a tree of n samples, c(n) of the paper as scikit-learn computes it.
func pathLength(n float64) float64 {
	switch {
	case n <= 1:
		return 0
	case n <= 2:
		return 1
	}
	const euler = 0.5772156649015328606
	return 2*(math.Log(n-1)+euler) - 2*(n-1)/n
}
