package pipelinetest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"time"
)

// The kind of object that a test file holds.
const (
	apiVersion = "test.millrace.dev/v1alpha1"
	kind       = "PipelineTest"
)

//go:embed schema.json
var schema []byte

// File is one object of a test file. schema.json describes it and its members.
type File struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Manifests  []string    `json:"manifests,omitempty"`
	Kubernetes *Kubernetes `json:"kubernetes,omitempty"`
	Tests      []Test      `json:"tests"`
}

// Kubernetes is the cluster of a file: one of both is set.
type Kubernetes struct {
	File    string            `json:"file,omitempty"`
	Objects []json.RawMessage `json:"objects,omitempty"`
}

// Test is one test.
type Test struct {
	Name        string        `json:"name"`
	Start       string        `json:"start,omitempty"`
	Skip        []string      `json:"skip,omitempty"`
	Sinks       string        `json:"sinks,omitempty"`
	Timeout     string        `json:"timeout,omitempty"`
	Steps       []Step        `json:"steps"`
	Expect      []Expectation `json:"expect,omitempty"`
	NothingElse bool          `json:"nothingElse,omitempty"`
}

// Step is one of Send, File, Advance and Expect.
type Step struct {
	Send    []json.RawMessage `json:"send,omitempty"`
	File    string            `json:"file,omitempty"`
	To      string            `json:"to,omitempty"`
	Subject string            `json:"subject,omitempty"`
	Advance string            `json:"advance,omitempty"`
	Expect  []Expectation     `json:"expect,omitempty"`
}

// Expectation is what a port carries.
type Expectation struct {
	Port        string         `json:"port"`
	Count       *int           `json:"count,omitempty"`
	AtLeast     *int           `json:"atLeast,omitempty"`
	AtMost      *int           `json:"atMost,omitempty"`
	Events      []description  `json:"events,omitempty"`
	Exactly     []description  `json:"exactly,omitempty"`
	InOrder     bool           `json:"inOrder,omitempty"`
	Each        []string       `json:"each,omitempty"`
	Some        []string       `json:"some,omitempty"`
	None        []string       `json:"none,omitempty"`
	Insights    []Insight      `json:"insights,omitempty"`
	Reasons     map[string]int `json:"reasons,omitempty"`
	NothingElse bool           `json:"nothingElse,omitempty"`
}

// Insight describes an insight by its last revision.
type Insight struct {
	Rule     string   `json:"rule,omitempty"`
	Root     string   `json:"root,omitempty"`
	Severity string   `json:"severity,omitempty"`
	Status   string   `json:"status,omitempty"`
	Title    string   `json:"title,omitempty"`
	Affects  []string `json:"affects,omitempty"`
}

// sinksWrite has the sinks of a test write to their targets.
const sinksWrite = "Write"

const (
	defaultTimeout = 2 * time.Minute
	defaultSubject = "input"
)

// defaultStart is what the clock shows where no event has a time.
func defaultStart() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// duration reads a duration that check has found to be one; zero where there is none.
func duration(text string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(text); err == nil {
		return d
	}
	return otherwise
}

// description is what is said of an event. Its numbers are json.Number.
type description map[string]any

// UnmarshalJSON implements json.Unmarshaler.
func (d *description) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode((*map[string]any)(d))
}
