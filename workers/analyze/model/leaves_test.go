package model

import (
	"bufio"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dmitryikh/leaves"
)

// leavesData is the folder of the models that leaves, another reader of such models, is tested with. LightGBM wrote them, and what it predicts for them.
func leavesData(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/dmitryikh/leaves").CombinedOutput()
	if err != nil {
		t.Fatalf("find the module leaves: %v\n%s", err, out)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "testdata")
}

// table reads rows of numbers.
func table(t testing.TB, path string) (rows [][]float64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var row []float64
		for word := range strings.FieldsSeq(lines.Text()) {
			v, err := strconv.ParseFloat(word, 64)
			if err != nil {
				t.Fatal(err)
			}
			row = append(row, v)
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil || len(rows) == 0 {
		t.Fatalf("%s has no rows: %v", path, err)
	}
	return rows
}

// TestLightGBMScores: LightGBM itself predicted the same.
func TestLightGBMScores(t *testing.T) {
	dir := leavesData(t)
	data, err := os.ReadFile(filepath.Join(dir, "lg_dart_breast_cancer.model"))
	if err != nil {
		t.Fatal(err)
	}
	m := read(t, LightGBM, data)
	rows, want := table(t, filepath.Join(dir, "breast_cancer_test.tsv")), table(t, filepath.Join(dir, "lg_dart_breast_cancer_true_predictions.txt"))
	if len(rows) != len(want) {
		t.Fatalf("%d rows and %d predictions", len(rows), len(want))
	}
	worst := 0.0
	for i, row := range rows {
		if got, err := m.Score(row[len(row)-30:]); err != nil || !closeTo(got, want[i][0]) {
			t.Errorf("row %d: got %v, %v, want %v", i, got, err, want[i][0])
		} else {
			worst = max(worst, math.Abs(got-want[i][0]))
		}
	}
	t.Logf("%d trees, %d rows, largest difference %.1e", m.Trees(), len(rows), worst)
}

// TestLightGBMLeaves: each row comes to the leaf of each tree that LightGBM itself says.
func TestLightGBMLeaves(t *testing.T) {
	dir := leavesData(t)
	data, err := os.ReadFile(filepath.Join(dir, "lg_breast_cancer.txt"))
	if err != nil {
		t.Fatal(err)
	}
	m := read(t, LightGBM, data)
	f := m.eval.(*forest)
	want := table(t, filepath.Join(dir, "lg_breast_cancer_data_pred_leaves.txt"))
	for i, row := range table(t, filepath.Join(dir, "lg_breast_cancer_data.txt")) {
		for n, root := range f.roots {
			at := f.walk(root, row)
			// The root of a tree is its first node, and its leaves stand behind all others.
			leaf := 0
			for i := root; i < at; i++ {
				if f.nodes[i].child[0] == i {
					leaf++
				}
			}
			if float64(leaf) != want[i][n] {
				t.Errorf("row %d, tree %d: leaf %d, want %g", i, n, leaf, want[i][n])
			}
		}
	}
}

// TestAgainstLeaves: another implementation says the same about values that are missing, zero, huge or at a threshold.
func TestAgainstLeaves(t *testing.T) {
	dir := leavesData(t)
	for _, name := range []string{"lg_dart_breast_cancer.model", "lg_breast_cancer.txt"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, decision := range []string{"2", "0", "4", "6", "8", "10"} {
				// The decisions of the file are all 2: nothing is missing.
				var text strings.Builder
				for line := range strings.Lines(string(data)) {
					if rest, ok := strings.CutPrefix(line, "decision_type="); ok {
						line = "decision_type=" + strings.ReplaceAll(rest, "2", decision)
					}
					text.WriteString(line)
				}
				other, err := leaves.LGEnsembleFromReader(bufio.NewReader(strings.NewReader(text.String())), true)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, read(t, LightGBM, []byte(text.String())), other, decision)
			}
		})
	}
}

func compare(t *testing.T, m *Model, other *leaves.Ensemble, decision string) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	f := m.eval.(*forest)
	odd := []float64{math.NaN(), 0, math.Copysign(0, -1), 1e-36, -1e-36, 1e300, -1e300}
	for range 500 {
		x := make([]float64, len(m.Features()))
		for i := range x {
			n := &f.nodes[random.IntN(len(f.nodes))]
			switch random.IntN(4) {
			case 0:
				x[i] = odd[random.IntN(len(odd))]
			case 1:
				x[i] = n.threshold
			default:
				x[i] = n.threshold * (0.5 + random.Float64())
			}
		}
		got, err := m.Score(x)
		if want := other.PredictSingle(x, 0); err != nil || !closeTo(got, want) {
			t.Fatalf("decision_type %s: got %v, %v, want %v for %v", decision, got, err, want, x)
		}
	}
}
