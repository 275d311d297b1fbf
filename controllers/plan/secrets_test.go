package plan

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// TestModelsOfWorkers: workers mount the models of their stage and of those chained to it, each once.
func TestModelsOfWorkers(t *testing.T) {
	p := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	inference := func(key string) string {
		return `analyze: {inference: {model: {name: m, format: Linear, configMapRef: {name: models, key: ` + key + `}, sha256: a}, features: [{name: a, expression: "1"}]}}`
	}
	if err := yaml.UnmarshalStrict([]byte(`stages:
- {name: a, from: [ingress], `+inference("b.json")+`}
- {name: b, from: [a], placement: {with: a}, `+inference("a.json")+`}
- {name: c, from: [b], placement: {with: a}, `+inference("b.json")+`}
- {name: d, from: [c], enrich: {}}`), &p.Spec); err != nil {
		t.Fatal(err)
	}
	planned, errs := newComputation(Input{Pipeline: p, DefaultNATSURL: "nats://nats:4222"}).compute()
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	got := map[string][]config.ModelFile{}
	for _, s := range planned.Stages {
		got[s.Name] = s.Models
	}
	want := map[string][]config.ModelFile{
		"a": {{Name: "models", Key: "a.json", File: "models/a.json"}, {Name: "models", Key: "b.json", File: "models/b.json"}},
		"b": nil, "c": nil, "d": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestSecretsOfWorkers: workers mount what their stage and those chained to it read, each value once. Here validate reads a value of the
// Secret that its required attributes name; those that read some are sinks.
func TestSecretsOfWorkers(t *testing.T) {
	p := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte(`stages:
- {name: a, from: [ingress], validate: {requiredAttributes: [shop, archive]}}
- {name: b, from: [a], placement: {with: a}, validate: {requiredAttributes: [archive, bank]}}
- {name: c, from: [a], validate: {requiredAttributes: [mail]}}
- {name: d, from: [c], enrich: {}}`), &p.Spec); err != nil {
		t.Fatal(err)
	}
	c := newComputation(Input{Pipeline: p, DefaultNATSURL: "nats://nats:4222"})
	c.readers = slices.Clone(c.readers)
	c.readers[0].secrets = func(s *v1alpha1.StageNode) (files []config.SecretFile) {
		for _, name := range s.Validate.RequiredAttributes {
			files = append(files, config.NewSecretFile(name, "password"))
		}
		return files
	}
	planned, errs := c.compute()
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	got := map[string][]config.SecretFile{}
	for _, s := range planned.Stages {
		got[s.Name] = s.Secrets
	}
	want := map[string][]config.SecretFile{
		"a": {
			{Name: "archive", Key: "password", File: "archive/password"},
			{Name: "bank", Key: "password", File: "bank/password"},
			{Name: "shop", Key: "password", File: "shop/password"},
		},
		"b": nil, // its head mounts them
		"c": {{Name: "mail", Key: "password", File: "mail/password"}},
		"d": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
