package plan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/golden"
	"millrace.dev/millrace/workers/config"
)

// TestSamples plans every sample and compares with its golden file.
func TestSamples(t *testing.T) {
	samples, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(samples) < 5 {
		t.Fatalf("found %d samples: %v", len(samples), err)
	}
	for _, sample := range samples {
		name := strings.TrimSuffix(filepath.Base(sample), ".yaml")
		if name == "kustomization" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			p, errs := plan.Compute(read(t, sample))
			if len(errs) > 0 {
				t.Fatalf("refused: %v", errs.ToAggregate())
			}
			var got bytes.Buffer
			encoder := json.NewEncoder(&got)
			encoder.SetEscapeHTML(false) // subjects end in >
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(p); err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join("testdata", name+".json"), got.String())
			parse(t, p)
		})
	}
}

// parse checks that a worker takes each stage config.
func parse(t *testing.T, p *plan.Plan) {
	t.Helper()
	for _, s := range p.Stages {
		encoded, err := s.Config.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config.Parse(encoded); err != nil {
			t.Errorf("stage %s: %v", s.Name, err)
		}
	}
}

// read takes the Pipeline and the attached Stages of a file, all in namespace default.
func read(t testing.TB, file string) plan.Input {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in := plan.Input{DefaultNATSURL: "nats://nats:4222"}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		var raw json.RawMessage
		if err := documents.Decode(&raw); errors.Is(err, io.EOF) {
			return in
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), `"kind":"Pipeline"`) {
			in.Pipeline = &v1alpha1.Pipeline{}
			decode(t, raw, in.Pipeline)
			in.Pipeline.Namespace = "default"
			continue
		}
		var s v1alpha1.Stage
		decode(t, raw, &s)
		s.Namespace = "default"
		in.Stages = append(in.Stages, s)
	}
}

func decode(t testing.TB, raw []byte, into any) {
	t.Helper()
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	if err := strict.Decode(into); err != nil {
		t.Fatal(err)
	}
}
