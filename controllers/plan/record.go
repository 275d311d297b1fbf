package plan

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"millrace.dev/millrace/workers/config"
)

// MetadataGraph is the key of the graph in the metadata of the ingress stream.
const MetadataGraph = "millrace.dev/graph"

const (
	// graphVersion is that of the text; a reader refuses others.
	graphVersion = 1
	// maxGraph bounds the text: NATS takes 128 KiB of metadata in all, and sends them with each description of the stream.
	maxGraph = 64 << 10
	// maxGraphJSON bounds what is in it.
	maxGraphJSON = 4 << 20
)

// recorded is what readers need of a plan: which stage fills and reads which stream. No settings of stages are in it.
type recorded struct {
	Version    int             `json:"version"`
	Namespace  string          `json:"namespace"`
	Name       string          `json:"name"`
	Partitions int             `json:"partitions"`
	Ingress    recordedIngress `json:"ingress"`
	Streams    []string        `json:"streams"`
	Leases     string          `json:"leases"`
	Stages     []recordedStage `json:"stages"`
}

type recordedIngress struct {
	Stream      string   `json:"stream"`
	Subjects    []string `json:"subjects"`
	Partitioned bool     `json:"partitioned,omitempty"`
}

type recordedStage struct {
	Name      string                   `json:"name"`
	Kind      config.Kind              `json:"kind"`
	Head      string                   `json:"head,omitempty"`
	Lanes     int                      `json:"lanes"`
	Suspended bool                     `json:"suspended,omitempty"`
	Dedupe    config.Duration          `json:"dedupe,omitempty"`
	Inputs    []config.Input           `json:"inputs,omitempty"`
	Outputs   map[string]config.Output `json:"outputs,omitempty"`
}

// EncodeGraph writes what readers need of a plan as a text for MetadataGraph: JSON, zlib, base64. It is empty for a graph that has no room there.
func EncodeGraph(p *Plan) string {
	r := recorded{
		Version: graphVersion, Namespace: p.Namespace, Name: p.Name, Partitions: p.Partitions, Leases: p.Leases.Bucket,
		Ingress: recordedIngress{Stream: p.Ingress.Name, Subjects: p.Ingress.Subjects, Partitioned: p.Ingress.Transform != Transform{}},
	}
	for _, s := range p.Streams {
		r.Streams = append(r.Streams, s.Name)
	}
	for i := range p.Stages {
		s := &p.Stages[i]
		stage := recordedStage{
			Name: s.Name, Kind: s.Config.Kind, Head: s.Head, Lanes: s.Lanes, Suspended: s.Suspended, Inputs: s.Config.Inputs, Outputs: s.Config.Outputs,
		}
		if s.Config.Dedupes() {
			stage.Dedupe = s.Config.Validate.Dedupe.Window
		}
		r.Stages = append(r.Stages, stage)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return "" // no type in it fails
	}
	var b bytes.Buffer
	w := base64.NewEncoder(base64.StdEncoding, &b)
	z := zlib.NewWriter(w)
	_, _ = z.Write(text)
	_ = z.Close()
	_ = w.Close()
	if b.Len() > maxGraph {
		return ""
	}
	return b.String()
}

// DecodeGraph reads what EncodeGraph wrote: a plan with what readers need, and nothing else.
func DecodeGraph(text string) (*Plan, error) {
	body, err := graphJSON(text)
	if err != nil {
		return nil, err
	}
	var r recorded
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("the recorded graph: %w", err)
	}
	switch {
	case r.Version != graphVersion:
		return nil, fmt.Errorf("the recorded graph has version %d, and this program reads version %d: use one of the version of the operator", r.Version, graphVersion)
	case r.Name == "" || r.Ingress.Stream == "" || len(r.Ingress.Subjects) == 0 || len(r.Stages) == 0:
		return nil, errors.New("the recorded graph is not whole")
	}
	p := &Plan{
		Namespace: r.Namespace, Name: r.Name, Partitions: r.Partitions, Leases: Leases{Bucket: r.Leases},
		Ingress: Stream{Name: r.Ingress.Stream, Subjects: r.Ingress.Subjects},
	}
	if r.Ingress.Partitioned {
		p.Ingress.Transform = Transform{Source: r.Ingress.Subjects[0], Destination: r.Ingress.Subjects[0]}
	}
	for _, name := range r.Streams {
		p.Streams = append(p.Streams, Stream{Name: name})
	}
	for _, s := range r.Stages {
		stage := Stage{Name: s.Name, Head: s.Head, Lanes: s.Lanes, Suspended: s.Suspended, Config: config.StageConfig{
			Stage: s.Name, Kind: s.Kind, Lanes: s.Lanes, Inputs: s.Inputs, Outputs: s.Outputs,
		}}
		if s.Kind == config.KindValidate {
			stage.Config.Validate = &config.Validate{}
			if s.Dedupe > 0 {
				stage.Config.Validate.Dedupe = &config.Dedupe{Window: s.Dedupe}
			}
		}
		p.Stages = append(p.Stages, stage)
	}
	return p, nil
}

// SameGraph says whether two texts hold the same graph, whatever compressed them.
func SameGraph(a, b string) bool {
	if a == b {
		return true
	}
	left, err := graphJSON(a)
	if err != nil {
		return false
	}
	right, err := graphJSON(b)
	return err == nil && bytes.Equal(left, right)
}

func graphJSON(text string) ([]byte, error) {
	if len(text) > maxGraph {
		return nil, fmt.Errorf("the recorded graph has %d bytes, at most %d", len(text), maxGraph)
	}
	block, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("the recorded graph: %w", err)
	}
	z, err := zlib.NewReader(bytes.NewReader(block))
	if err != nil {
		return nil, fmt.Errorf("the recorded graph: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(z, maxGraphJSON+1))
	if err != nil {
		return nil, fmt.Errorf("the recorded graph: %w", err)
	}
	if len(body) > maxGraphJSON {
		return nil, fmt.Errorf("the recorded graph has more than %d bytes", maxGraphJSON)
	}
	return body, nil
}
