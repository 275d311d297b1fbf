package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// linearFile is a linear model with the scaler before it. scikit-learn has no form of its own that is not a program; docs/inference.md says
// how to write this one.
type linearFile struct {
	Format   string   `json:"format"` // linearFormat
	Features []string `json:"features"`
	// Center and Scale of a scaler: its value of a feature is (x - center) / scale. Empty = 0 and 1.
	Center       []float64 `json:"center,omitempty"`
	Scale        []float64 `json:"scale,omitempty"`
	Coefficients []float64 `json:"coefficients"`
	Intercept    float64   `json:"intercept"`
	Link         string    `json:"link"` // identity, logistic or exp
}

const (
	linearFormat    = "millrace.dev/linear/v1"
	isolationFormat = "millrace.dev/isolation-forest/v1"
)

type linear struct {
	linearFile
	link func(float64) float64
}

func (l *linear) score(x []float64) float64 {
	sum := l.Intercept
	for i, v := range x {
		sum += float64((v - l.Center[i]) / l.Scale[i] * l.Coefficients[i]) // rounded, so that no processor fuses it with the sum
	}
	return l.link(sum)
}

func readLinear(data []byte) (*Model, error) {
	l := &linear{link: identity}
	if err := strict(data, &l.linearFile); err != nil {
		return nil, err
	}
	m := &Model{complete: true, eval: l}
	n := len(l.Features)
	if l.Format != linearFormat {
		return nil, fmt.Errorf("format is %q, must be %s", clip(l.Format), linearFormat)
	}
	if err := m.name(l.Features, n); err != nil {
		return nil, err
	}
	if l.Center == nil {
		l.Center = make([]float64, n)
	}
	if l.Scale == nil {
		for range n {
			l.Scale = append(l.Scale, 1)
		}
	}
	if len(l.Center) != n || len(l.Scale) != n || len(l.Coefficients) != n {
		return nil, fmt.Errorf("center, scale and coefficients must have %d values, one for each feature", n)
	}
	for i, s := range l.Scale {
		if s == 0 {
			return nil, fmt.Errorf("scale[%d] is 0", i)
		}
	}
	switch l.Link {
	case "identity":
	case "logistic":
		l.link, m.probability = logistic(1), true
	case "exp":
		l.link = math.Exp
	default:
		return nil, fmt.Errorf("link %q is unknown: identity, logistic or exp", clip(l.Link))
	}
	return m, nil
}

// strict reads one JSON object with known members only. JSON has no NaN and no infinity.
func strict(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("it is not the JSON that docs/inference.md names: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more follows behind its JSON")
	}
	return nil
}
