package api_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/test/harness/kube"
)

// testNeighbours types the documented commands in a cluster where another project has pipelines and stages, too. They
// show and change ours alone.
func (s *server) testNeighbours(t *testing.T) {
	if err := s.plane.InstallCRDs("testdata/neighbours.yaml"); err != nil {
		t.Fatal(err)
	}
	var theirs []*unstructured.Unstructured
	for _, kind := range []string{"Pipeline", "Stage"} {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(schema.GroupVersionKind{Group: "build.example.org", Version: "v1", Kind: kind})
		object.SetNamespace(s.namespace)
		object.SetName("shop") // as ours
		object.SetLabels(map[string]string{"owner": "neighbour"})
		if err := s.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		theirs = append(theirs, object)
	}
	shell := s.shell(t)
	if out, err := shell("kubectl" + " get pipelines --show-labels"); err != nil || !strings.Contains(out, "owner=neighbour") {
		t.Fatalf("a bare name is not the neighbour's, so this test proves nothing: %v\n%s", err, out)
	}
	commands := documentedCommands(t)
	if len(commands) < 20 {
		t.Errorf("found %d commands in the docs: %q", len(commands), commands)
	}
	for _, command := range commands {
		s.ours(t)
		out, err := shell(command)
		if err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		if strings.Contains(out, "build.example.org") || strings.Contains(out, "neighbour") {
			t.Errorf("%s: shows the neighbour's:\n%s", command, out)
		}
		for _, want := range theirs {
			got := want.DeepCopy()
			if err := s.Get(t.Context(), client.ObjectKeyFromObject(want), got); err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			if diff := cmp.Diff(want.Object, got.Object); diff != "" {
				t.Fatalf("%s changed the neighbour's %s (-before +after):\n%s", command, want.GetKind(), diff)
			}
		}
	}
}

// ours makes a Pipeline and a Stage again, if a command deleted or changed them.
func (s *server) ours(t *testing.T) {
	t.Helper()
	for _, base := range []string{basePipeline, baseStage} {
		object := merged(t, base, `metadata: {name: shop}`)
		object.SetNamespace(s.namespace)
		if object.GetKind() == "Stage" {
			merge(object.Object, parse(t, `spec: {replicas: 1}`))
		}
		if err := s.Delete(t.Context(), object.DeepCopy()); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		if err := s.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// shell runs a command line with kubectl in the test's namespace.
func (s *server) shell(t *testing.T) func(string) (string, error) {
	t.Helper()
	kubectl, err := kube.Find("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	// What kubectl has cached of the server is from before the neighbours came.
	replacement := kubectl + " --cache-dir=" + t.TempDir() + " --kubeconfig=" + s.plane.Kubeconfig()
	return func(command string) (string, error) {
		in := " -n " + s.namespace
		if strings.Contains(command, "--all-namespaces") { // kubectl takes one of both
			in = ""
		}
		command = strings.Replace(command, "kubectl", replacement+in, 1)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
		return string(out), err
	}
}

var (
	// typed is a kubectl command about our kinds, in a block or in backquotes.
	typed = regexp.MustCompile("kubectl [^|`\n]*(?:(?:pipelines|stages)\\.millrace\\.dev|\\bmr[ps]\\b)[^|`\n]*")
	// The names in docs are those of examples.
	exampleName   = regexp.MustCompile(`<pipeline>-<stage>|NAME-STAGE|\bNAME\b|shop-latency|shop-enrich|\bobservability\b`)
	namespaceFlag = regexp.MustCompile(` (-n|--namespace) \S+`)
	// A wait, a watch and the deletion of the definitions would end the test.
	notTyped = regexp.MustCompile(` (wait|delete crd) `)
)

// documentedCommands are all commands about our kinds that a person finds in the docs, on one object named shop.
func documentedCommands(t *testing.T) []string {
	t.Helper()
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	var commands []string
	read := func(path string) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range typed.FindAllString(strings.ReplaceAll(string(content), "\\\n", " "), -1) {
			command, _, _ = strings.Cut(command, " #")
			command = namespaceFlag.ReplaceAllString(exampleName.ReplaceAllString(command, "shop"), "")
			command = strings.TrimSpace(strings.NewReplacer("--replicas=N", "--replicas=2", " --watch", "").Replace(command))
			if !seen[command] && !notTyped.MatchString(command) {
				seen[command] = true
				commands = append(commands, command)
			}
		}
	}
	read(filepath.Join(root, "README.md"))
	read(filepath.Join(root, "charts", "millrace", "templates", "NOTES.txt"))
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return commands
}
