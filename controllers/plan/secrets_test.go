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
