package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/config/crd"
	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/stage"
)

// TestKindsAreComplete: for each row in the table of kinds there is all that CONTRIBUTING.md lists under "Add a kind".
func TestKindsAreComplete(t *testing.T) {
	checker, err := manifest.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	sampled := sampledKinds(t, checker)
	for _, k := range config.Kinds() {
		t.Run(string(k.Kind), func(t *testing.T) {
			for _, holder := range []any{config.StageConfig{}, v1alpha1.StageNode{}} {
				if !slices.Contains(members(reflect.TypeOf(holder)), string(k.Kind)) {
					t.Errorf("%T has no member %s for the settings", holder, k.Kind)
				}
			}
			definitionsKnow(t, k.Kind)
			pagesKnow(t, k)
			liveIsDocumented(t, k)
			if !sampled[k.Kind] {
				t.Error("no manifest in config/samples has such a stage")
			}
			if registry(kubernetes.Choice{})[k.Kind] == nil {
				t.Error("the registry of main.go has no factory")
			}
			if suites := read(t, "workers/"+string(k.Kind)+"/*_test.go"); !strings.Contains(suites, "stagetest.Run(") {
				t.Errorf("workers/%s does not run the suite of test/stagetest", k.Kind)
			}
			example := exampleOf(t, k.Kind)
			if example == nil {
				t.Fatalf("docs/stages/%s.md has no example with such a stage", k.Kind)
			}
			works(t, checker, k.Kind, example)
			isAlone(t, checker, k.Kind, example)
		})
	}
}

// TestKindsAreInTheTable: what may hold the settings of a kind, or makes its stages, has a row in the table.
func TestKindsAreInTheTable(t *testing.T) {
	have := map[string]bool{}
	for _, k := range config.Kinds() {
		have[string(k.Kind)] = true
	}
	for kind, factory := range registry(kubernetes.Choice{}) {
		if !have[string(kind)] || factory.Kind() != kind {
			t.Errorf("main makes stages of the kind %q, which has no row in config.Kinds", kind)
		}
	}
	pages, err := filepath.Glob("docs/stages/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("found no pages: ", err)
	}
	for _, page := range pages {
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); !have[name] {
			t.Errorf("%s is no page of a kind that has a row in config.Kinds", page)
		}
	}
}

// members are the names of the members of a struct in JSON.
func members(s reflect.Type) []string {
	var names []string
	for i := range s.NumField() {
		name, _, _ := strings.Cut(s.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// definitionsKnow holds the custom resources against the kind: each has the member, and a rule that keeps the kind of a
// stage. Which port exists on a kind is the planner's to say; the definitions know all.
func definitionsKnow(t *testing.T, k config.Kind) {
	t.Helper()
	definitions, err := crd.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range definitions {
		node := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		if stages, ok := node.Properties["stages"]; ok {
			node = *stages.Items.Schema
		}
		if node.Properties[string(k)].Description == "" {
			t.Errorf("%s: a stage has no member %s, or it has no description", d.Name, k)
		}
		var rules strings.Builder
		for _, r := range node.XValidations {
			rules.WriteString(r.Rule + "\n")
		}
		if want := "has(self." + string(k) + ") == has(oldSelf." + string(k) + ")"; !strings.Contains(rules.String(), want) {
			t.Errorf("%s: the rule that the kind of a stage is immutable has no %s", d.Name, want)
		}
		from := regexp.MustCompile(node.Properties["from"].Items.Schema.Pattern)
		for _, port := range k.Traits().Ports() {
			if !from.MatchString("stage/" + port) {
				t.Errorf("%s: from takes no port %s", d.Name, port)
			}
		}
	}
}

// pagesKnow holds the pages for users against the kind.
func pagesKnow(t *testing.T, k config.Traits) {
	t.Helper()
	name := string(k.Kind)
	page := read(t, "docs/stages/"+name+".md")
	if !strings.HasPrefix(page, "# "+name+"\n") {
		t.Errorf("there is no page docs/stages/%s.md with the title %s", name, name)
	}
	says := map[string]string{
		"docs/stage.md": "(?m)^\\| `" + name + "` \\|.*\\(stages/" + name + `\.md\)`,
		"CHANGELOG.md":  "(?m)`" + name + "`",
	}
	if slices.Contains(k.Finds, config.PortInsights) {
		says["docs/pipeline.md"] = `(?m)/insights.*\b` + name + `\b`
	}
	for file, pattern := range says {
		if !regexp.MustCompile(pattern).MatchString(read(t, file)) {
			t.Errorf("%s says nothing of the kind %s: no line matches %s", file, name, pattern)
		}
	}
}

// liveIsDocumented holds the live members against the table for users, which names them as the manifest does: what is
// live there and what a worker takes over is the same.
func liveIsDocumented(t *testing.T, k config.Traits) {
	t.Helper()
	definitions, err := crd.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	stage := slices.IndexFunc(definitions, func(d *apiextensionsv1.CustomResourceDefinition) bool { return d.Spec.Names.Kind == "Stage" })
	settings := definitions[stage].Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties[string(k.Kind)]
	var documented []string
	if row := regexp.MustCompile(`(?m)^\| ` + string(k.Kind) + ` \|([^|]*)\|`).FindStringSubmatch(read(t, "docs/operator.md")); row != nil {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			documented = append(documented, leaves(settings, name[1])...)
		}
	}
	live := slices.Clone(k.Live)
	for i, path := range live {
		// The manifest may keep a member in a group, as clockSkew has maxAge.
		for group, member := range settings.Properties {
			if _, grouped := member.Properties[path]; grouped && settings.Properties[path].Type == "" {
				live[i] = group + "." + path
			}
		}
	}
	slices.Sort(live)
	slices.Sort(documented)
	if !slices.Equal(live, documented) {
		t.Errorf("live are %q, and docs/operator.md (rules without a restart) says %q", live, documented)
	}
}

// leaves are the members below a path of the settings, or the path itself when it names no group of members.
func leaves(settings apiextensionsv1.JSONSchemaProps, path string) []string {
	for name := range strings.SplitSeq(path, ".") {
		settings = settings.Properties[name]
	}
	if len(settings.Properties) == 0 {
		return []string{path}
	}
	var all []string
	for name := range settings.Properties {
		all = append(all, path+"."+name)
	}
	return all
}

// read returns all that is in the files of a pattern.
func read(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}

// exampleOf is the stage of the first example on the page of the kind.
func exampleOf(t *testing.T, k config.Kind) map[string]any {
	t.Helper()
	found := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(read(t, "docs/stages/"+string(k)+".md"))
	if found == nil {
		return nil
	}
	var stages []map[string]any
	if err := yaml.Unmarshal([]byte(found[1]), &stages); err != nil {
		t.Fatalf("docs/stages/%s.md: the first example is no list of stages: %v", k, err)
	}
	if len(stages) == 0 || stages[0][string(k)] == nil {
		return nil
	}
	return stages[0]
}

// lint reads a pipeline of one stage, behind those that it names, as `millrace lint` does.
func lint(t *testing.T, checker *manifest.Checker, node map[string]any) (*manifest.Set, []manifest.Problem) {
	t.Helper()
	stages := []any{node}
	for _, from := range node["from"].([]any) {
		if from != config.Ingress {
			stages = append(stages, map[string]any{"name": from, "from": []any{config.Ingress}, "validate": map[string]any{}})
		}
	}
	content, err := yaml.Marshal(map[string]any{
		"apiVersion": "millrace.dev/v1alpha1", "kind": "Pipeline", "metadata": map[string]any{"name": "p"},
		"spec": map[string]any{"stages": stages},
	})
	if err != nil {
		t.Fatal(err)
	}
	set, problems, err := checker.Read(t.Context(), "example.yaml", strings.NewReader(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	return set, problems
}

// from is what a stage reads that stands for the example: the ingress, or stages, where it needs several.
func from(example map[string]any) []any {
	if all, ok := example["from"].([]any); ok && len(all) > 1 {
		return all
	}
	return []any{config.Ingress}
}

// works plans the example and makes the stage as a worker does.
func works(t *testing.T, checker *manifest.Checker, k config.Kind, example map[string]any) {
	t.Helper()
	node := map[string]any{"name": "s", "from": from(example), string(k): example[string(k)]}
	set, problems := lint(t, checker, node)
	if len(problems) > 0 {
		t.Errorf("lint refuses the example of docs/stages/%s.md: %v", k, problems)
		return
	}
	planned := set.Plans[0].Stages[slices.IndexFunc(set.Plans[0].Stages, func(s plan.Stage) bool { return s.Name == "s" })]
	encoded, err := planned.Config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(encoded)
	if err != nil {
		t.Errorf("the planner makes no config of it that a worker reads: %v", err)
		return
	}
	var mounted []string
	for _, s := range planned.Secrets {
		mounted = append(mounted, s.File)
	}
	if named := slices.Sorted(slices.Values(c.SecretFiles())); !slices.Equal(slices.Compact(named), mounted) {
		t.Errorf("the settings name the files with secrets %q, and the workers mount %q", named, mounted)
	}
	stagetest.MountSecrets(t, c)
	factory, err := registry(kubernetes.Choice{}).Factory(k)
	if err != nil {
		return // said already
	}
	settings := stage.Settings{Config: c, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry(), Lanes: c.Lanes}
	made, err := factory.New(settings)
	if err != nil {
		t.Errorf("the worker refuses the example: %v", err)
		return
	}
	if _, ok := made.(stage.Reloader); ok != (len(k.Traits().Live) > 0) {
		t.Errorf("the stage is a stage.Reloader: %t, and its row has the live members %v", ok, k.Traits().Live)
	}
	if got, want := factory.Stateful(c), c.Replays(); got != want {
		t.Errorf("the factory says stateful %t, the table %t: the NATS user has the wrong rights", got, want)
	}
	if _, ok := made.(stage.Snapshotter); ok != c.KeepsState() {
		t.Errorf("the stage is a stage.Snapshotter: %t, the table says that it keeps snapshots: %t", ok, c.KeepsState())
	}
}

// isAlone gives the stage a second kind, whichever: the API server refuses it.
func isAlone(t *testing.T, checker *manifest.Checker, k config.Kind, example map[string]any) {
	t.Helper()
	want := "set exactly one of " + config.KindNames() + ": it is the kind of the stage"
	for _, other := range config.Kinds() {
		second := exampleOf(t, other.Kind)
		if other.Kind == k || second == nil {
			continue
		}
		node := map[string]any{"name": "s", "from": from(example), string(k): example[string(k)], string(other.Kind): second[string(other.Kind)]}
		_, problems := lint(t, checker, node)
		if !slices.ContainsFunc(problems, func(p manifest.Problem) bool { return strings.Contains(p.Message, want) }) {
			t.Errorf("with %s too, the API server does not say %q: %v", other.Kind, want, problems)
		}
	}
}

// sampledKinds are the kinds of all stages in config/samples.
func sampledKinds(t *testing.T, checker *manifest.Checker) map[config.Kind]bool {
	t.Helper()
	files, err := filepath.Glob("config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[config.Kind]bool{}
	for _, file := range files {
		set, _, err := checker.Read(t.Context(), file, strings.NewReader(read(t, file)))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range set.Plans {
			for i := 0; p != nil && i < len(p.Stages); i++ {
				kinds[p.Stages[i].Config.Kind] = true
			}
		}
	}
	return kinds
}
