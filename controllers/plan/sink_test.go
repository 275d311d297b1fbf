package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// sinkOf plans a pipeline whose second stage is a sink.
func sinkOf(t *testing.T, sink string) (*plan.Plan, field.ErrorList) {
	t.Helper()
	p := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte("stages:\n- {name: a, from: [ingress], validate: {}}\n- {name: b, from: [a], sink: "+sink+"}"), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return plan.Compute(plan.Input{Pipeline: p, DefaultNATSURL: "nats://nats:4222"})
}

// TestSinksThatAreRefused: the planner names the field, and says what to do.
func TestSinksThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ sink, want string }{
		"expression that does not compile": {
			`{postgres: {urlSecretRef: {name: a, key: b}, table: t, columns: [{name: x, type: Text, expression: event.nothing}]}}`,
			"spec.stages[1].sink.postgres.columns[0].expression: Invalid value: \"event.nothing\": column 6: undefined field 'nothing'",
		},
		"expression of another type": {
			`{postgres: {urlSecretRef: {name: a, key: b}, table: t, columns: [{name: x, type: JSON}, {name: z, type: Int, expression: event.id}]}}`,
			`spec.stages[1].sink.postgres.columns[1].expression: Invalid value: "event.id": yields string, must yield int`,
		},
		"places among the events": {
			`{postgres: {urlSecretRef: {name: a, key: b}, table: millrace_places}}`,
			`spec.stages[1].sink.postgres.placesTable: Invalid value: "millrace_places": is the table of the events: the places of lanes need a table of their own`,
		},
		"size of nothing": {
			`{file: {path: /x, rotate: {size: "0"}}}`, `spec.stages[1].sink.file.rotate.size: Invalid value: "0": must be a size from 1Ki to 1Ti`,
		},
		"size that 64 bits do not hold": {
			`{file: {path: /x, rotate: {size: 99999Ei}}}`, `spec.stages[1].sink.file.rotate.size: Invalid value: "9223372036854775807": must be a size from 1Ki to 1Ti`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, refusals := sinkOf(t, c.sink)
			if len(refusals) != 1 || refusals[0].Error() != c.want {
				t.Errorf("got %v, want %s", refusals, c.want)
			}
		})
	}
}

// TestSinkInAGraph: nobody reads a sink, and it has its workers for itself.
func TestSinkInAGraph(t *testing.T) {
	p := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte(`stages:
- {name: a, from: [ingress], sink: {file: {path: /x}}}
- {name: b, from: [a], validate: {}}
- {name: c, from: [b], placement: {with: b}, sink: {file: {path: /y}}}
- {name: d, from: [a/dead-letter], output: {stream: X}, sink: {file: {path: /z}}}`), &p.Spec); err != nil {
		t.Fatal(err)
	}
	_, refusals := plan.Compute(plan.Input{Pipeline: p, DefaultNATSURL: "nats://nats:4222"})
	var paths []string
	for _, r := range refusals {
		paths = append(paths, r.Field)
	}
	slices.Sort(paths)
	if want := []string{"spec.stages[1].from[0]", "spec.stages[2].placement.with", "spec.stages[3].output"}; !slices.Equal(paths, want) {
		t.Errorf("refused %q, want %q: %v", paths, want, refusals)
	}
	if text := refusals.ToAggregate().Error(); !strings.Contains(text, "keeps its events outside of the pipeline") {
		t.Error(text)
	}
}

// TestSettingsOfSinks: from the manifest to what workers read, and the values of Secrets that these mount.
func TestSettingsOfSinks(t *testing.T) {
	secret := func(name, key string) config.SecretFile {
		return config.SecretFile{Name: name, Key: key, File: name + "/" + key}
	}
	for name, c := range map[string]struct {
		sink    string
		want    config.Sink
		secrets []config.SecretFile
	}{
		"file": {
			sink: `{file: {path: /x, compression: Zstd, rotate: {size: 1Mi, age: 1h}}}`,
			want: config.Sink{File: &config.FileSink{Path: "/x", Compression: config.CompressionZstd, RotateSize: 1 << 20, RotateAge: config.Duration(time.Hour)}},
		},
		"http": {
			sink: `{http: {url: "https://a", signatureSecretRef: {name: hook, key: key}, headers: [{name: A, valueSecretRef: {name: hook, key: auth}}, {name: B, value: c}]}}`,
			want: config.Sink{HTTP: &config.HTTPSink{
				URL: "https://a", Format: config.FormatBatch, MaxEvents: 128, Timeout: config.Duration(10 * time.Second), SignatureFile: "hook/key",
				Headers: []config.HTTPHeader{{Name: "A", ValueFile: "hook/auth"}, {Name: "B", Value: "c"}},
			}},
			secrets: []config.SecretFile{secret("hook", "auth"), secret("hook", "key")},
		},
		"postgres": {
			sink: `{postgres: {urlSecretRef: {name: pg, key: url}, table: t, columns: [{name: x, type: JSON}]}}`,
			want: config.Sink{Postgres: &config.PostgresSink{
				URLFile: "pg/url", Table: "t", PlacesTable: "millrace_places", Columns: []config.SinkColumn{{Name: "x", Type: config.ColumnJSON}},
			}},
			secrets: []config.SecretFile{secret("pg", "url")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, refusals := sinkOf(t, c.sink)
			if len(refusals) > 0 {
				t.Fatal(refusals.ToAggregate())
			}
			s := p.Stages[1]
			if diff := cmp.Diff(&c.want, s.Config.Sink); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if diff := cmp.Diff(c.secrets, s.Secrets); diff != "" {
				t.Errorf("secrets, -want +got\n%s", diff)
			}
		})
	}
}
