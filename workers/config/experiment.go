package config

import "fmt"

// Experiment configures an experiment stage.
type Experiment struct {
	// Mode says whether an event goes to one variant or to all.
	Mode ExperimentMode `json:"mode"`
	// Key is CEL that yields a string: events of one key go to one variant; empty = the key of the event.
	Key string `json:"key,omitempty"`
	// Variants are the ports of the stage.
	Variants []ExperimentVariant `json:"variants"`
}

// ExperimentMode says where an event goes.
type ExperimentMode string

// The modes.
const (
	// ExperimentSplit: to one variant, by its key.
	ExperimentSplit ExperimentMode = "Split"
	// ExperimentMirror: to all variants whose weight is not 0.
	ExperimentMirror ExperimentMode = "Mirror"
)

// Mirrors says whether every event goes to all variants.
func (m ExperimentMode) Mirrors() (bool, error) {
	if m != ExperimentSplit && m != ExperimentMirror {
		return false, fmt.Errorf("is %q, must be %s or %s", m, ExperimentSplit, ExperimentMirror)
	}
	return m == ExperimentMirror, nil
}

// ExperimentVariant is one of them.
type ExperimentVariant struct {
	// Name is that of its port.
	Name string `json:"name"`
	// Weight is its part of the keys, relative to the others; 0 = none.
	Weight int `json:"weight"`
}

// MaxWeight is the largest weight.
const MaxWeight = 1_000_000
