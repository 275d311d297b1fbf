package model

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// grown is the text of a LightGBM model with full trees.
func grown(trees, depth, features int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nobjective=binary sigmoid:1\n")
	fmt.Fprintf(&b, "max_feature_idx=%d\nfeature_names=", features-1)
	for i := range features {
		fmt.Fprintf(&b, "x%d ", i)
	}
	b.WriteString("\ntree_sizes=" + strings.Repeat("1 ", trees) + "\n")
	nodes := 1<<depth - 1
	for i := range trees {
		column := func(name string, n int, value func(i int) any) {
			b.WriteString(name + "=")
			for i := range n {
				fmt.Fprint(&b, value(i), " ")
			}
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\nTree=%d\nnum_leaves=%d\nnum_cat=0\n", i, nodes+1)
		child := func(at int) int {
			if at >= nodes {
				return ^(at - nodes)
			}
			return at
		}
		column("split_feature", nodes, func(int) any { return random.IntN(features) })
		column("threshold", nodes, func(int) any { return random.Float64() })
		column("decision_type", nodes, func(int) any { return 10 })
		column("left_child", nodes, func(i int) any { return child(2*i + 1) })
		column("right_child", nodes, func(i int) any { return child(2*i + 2) })
		column("leaf_value", nodes+1, func(int) any { return random.NormFloat64() / 10 })
	}
	b.WriteString("\nend of trees\n")
	return []byte(b.String())
}

// BenchmarkScore is of 100 trees with values that take another way through them each time.
func BenchmarkScore(b *testing.B) {
	for _, depth := range []int{4, 6, 8} {
		b.Run(fmt.Sprintf("trees=100/leaves=%d", 1<<depth), func(b *testing.B) {
			benchmark(b, read(b, LightGBM, grown(100, depth, 30)), 0)
		})
	}
	b.Run("trees=100/leaves=64/missing", func(b *testing.B) { benchmark(b, read(b, LightGBM, grown(100, 6, 30)), 0.2) })
	b.Run("logistic", func(b *testing.B) { benchmark(b, read(b, Linear, file(b, "logistic.json")), 0) })
}

func benchmark(b *testing.B, m *Model, missing float64) {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	rows := make([][]float64, 1024)
	for i := range rows {
		rows[i] = make([]float64, len(m.Features()))
		for at := range rows[i] {
			rows[i][at] = random.Float64()
			if random.Float64() < missing {
				rows[i][at] = math.NaN()
			}
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := m.Score(rows[i%len(rows)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// TestScoreAllocatesNothing holds for each kind of model.
func TestScoreAllocatesNothing(t *testing.T) {
	for name, m := range map[string]*Model{
		"LightGBM": read(t, LightGBM, grown(10, 4, 5)), "XGBoost": read(t, XGBoost, file(t, "xgboost-logistic.json")),
		"linear": read(t, Linear, file(t, "logistic.json")), "isolation forest": read(t, IsolationForest, file(t, "isolation.json")),
	} {
		x := []float64{1, 2, 3, 4, 5}
		if n := testing.AllocsPerRun(100, func() { _, _ = m.Score(x) }); n != 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

// fuzz: whatever is read ends, and what was read can be evaluated.
func fuzz(f *testing.F, format Format, seeds ...[]byte) {
	f.Helper()
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Read(format, data)
		if err != nil {
			return
		}
		x := make([]float64, len(m.Features()))
		_, _ = m.Score(x)
		for i := range x {
			x[i] = float64(i%3) * 1e10
		}
		if s, err := m.Score(x); err == nil && !finite(s) {
			t.Errorf("the score is %g", s)
		}
	})
}

func FuzzLightGBM(f *testing.F) { fuzz(f, LightGBM, file(f, "small.lightgbm.txt"), grown(2, 3, 3)) }

func FuzzXGBoost(f *testing.F) {
	fuzz(f, XGBoost, file(f, "xgboost-rank.json"), file(f, "refused-hinge.json"), file(f, "refused-categories.json"))
}

func FuzzLinear(f *testing.F) { fuzz(f, Linear, file(f, "linear.json"), file(f, "logistic.json")) }

func FuzzIsolationForest(f *testing.F) {
	var large isolationFile
	if err := json.Unmarshal(file(f, "isolation.json"), &large); err != nil {
		f.Fatal(err)
	}
	large.Trees = large.Trees[:1]
	small, err := json.Marshal(large)
	if err != nil {
		f.Fatal(err)
	}
	fuzz(f, IsolationForest, small)
}
