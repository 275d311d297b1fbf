package stage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTracing: workers get the variables of OpenTelemetry when there is an endpoint, and no others; a change rolls the pods, not
// the config.
func TestTracing(t *testing.T) {
	traced := settings
	traced.Tracing = Tracing{Endpoint: "http://otel:4318", Protocol: "http/protobuf", SampleRatio: 0.0005}
	for name, c := range map[string]struct {
		settings Settings
		want     []string
	}{
		"off": {settings, nil},
		"on": {traced, []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://otel:4318", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
			"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.0005",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := decide(snap(t, pipeline(nil), child("validate")), c.settings)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range in.workers.deployment.Spec.Template.Spec.Containers[0].Env {
				if strings.HasPrefix(*v.Name, "OTEL_") {
					got = append(got, *v.Name+"="+*v.Value)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			plain, err := decide(snap(t, pipeline(nil), child("validate")), settings)
			if err != nil {
				t.Fatal(err)
			}
			if in.workers.config.Data[configKey] != plain.workers.config.Data[configKey] {
				t.Error("the config is another one")
			}
		})
	}
}
