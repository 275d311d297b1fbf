package model

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Format is how a model is written down.
type Format string

// The formats.
const (
	LightGBM        Format = "LightGBM"        // the text that Booster.save_model writes
	XGBoost         Format = "XGBoost"         // the JSON that Booster.save_model writes to a .json
	Linear          Format = "Linear"          // JSON of this package: see linearFile
	IsolationForest Format = "IsolationForest" // JSON of this package: see isolationFile
)

// Formats are all of them.
func Formats() []Format { return []Format{LightGBM, XGBoost, Linear, IsolationForest} }

// Bounds of a model. A node takes 24 bytes: what Read returns takes at most 24 MiB beside the names.
const (
	MaxBytes    = 4 << 20
	MaxFeatures = 4096
	maxTrees    = 20_000
	maxNodes    = 1_000_000 // of all trees, with their leaves
	maxDepth    = 512
)

// Model is a model that has been read. It is never written to.
type Model struct {
	features []string
	// named says that the model names its features; the names are f0, f1 and so on where it does not.
	named bool
	// rounds says that values are rounded to float before a tree sees them.
	rounds bool
	// complete says that no value may be missing.
	complete bool
	// probability says that the score is one.
	probability bool
	eval        evaluator
	trees       int
}

// evaluator turns values into a score. It keeps nothing of x.
type evaluator interface{ score(x []float64) float64 }

// Read reads a model. The error says what is wrong, or not known, and where.
func Read(format Format, data []byte) (*Model, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("the model has %d bytes, at most %d", len(data), MaxBytes)
	}
	var read func([]byte) (*Model, error)
	switch format {
	case LightGBM:
		read = readLightGBM
	case XGBoost:
		read = readXGBoost
	case Linear:
		read = readLinear
	case IsolationForest:
		read = readIsolation
	default:
		return nil, fmt.Errorf("format %q is unknown: one of %v", format, Formats())
	}
	m, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("read the %s model: %w", format, err)
	}
	return m, nil
}

// Features are the names of the values that Score takes, in their order.
func (m *Model) Features() []string { return slices.Clone(m.features) }

// Named says whether the model itself names its features. One that does not knows them by their order.
func (m *Model) Named() bool { return m.named }

// Trees is the number of trees; 0 = it has none.
func (m *Model) Trees() int { return m.trees }

// Probability says that the score is a probability by the objective of the model.
func (m *Model) Probability() bool { return m.probability }

// What Score refuses.
var (
	ErrMissing  = errors.New("a value is missing (NaN), and the model has no way to go then")
	ErrInfinite = errors.New("a value is infinite, or beyond what the model can hold")
	ErrScore    = errors.New("the score is not finite")
)

// Score evaluates the model for one value of each feature, in the order of Features. NaN is a missing value. It may round what is in x. An error is one of
// ErrMissing, ErrInfinite and ErrScore.
func (m *Model) Score(x []float64) (float64, error) {
	x = x[:len(m.features)]
	for i, v := range x {
		if m.rounds {
			v = float64(float32(v))
			x[i] = v
		}
		if math.IsInf(v, 0) {
			return 0, ErrInfinite
		}
		if m.complete && math.IsNaN(v) {
			return 0, ErrMissing
		}
	}
	s := m.eval.score(x)
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return 0, ErrScore
	}
	return s, nil
}

// name sets the features of a model with n of them.
func (m *Model) name(names []string, n int) error {
	if n < 1 || n > MaxFeatures {
		return fmt.Errorf("the model has %d features, must have 1 to %d", n, MaxFeatures)
	}
	m.named = len(names) > 0
	if !m.named {
		m.features = make([]string, n)
		for i := range m.features {
			m.features[i] = fmt.Sprintf("f%d", i)
		}
		return nil
	}
	if len(names) != n {
		return fmt.Errorf("the model names %d features and has %d", len(names), n)
	}
	sorted := slices.Sorted(slices.Values(names))
	for i, name := range sorted {
		if name == "" || i > 0 && name == sorted[i-1] {
			return fmt.Errorf("the feature %q has no name, or one that is there twice", name)
		}
	}
	m.features = names
	return nil
}

// finite says whether all are numbers.
func finite(values ...float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}
