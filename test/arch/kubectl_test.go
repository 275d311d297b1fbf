package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// kubectlCommand is a kubectl command up to the end of its line, its pipe or its quotation.
var kubectlCommand = regexp.MustCompile("kubectl(?: [^|`\n]*)?")

// bare finds our kinds where kubectl takes a kind: alone, in a list, or before the name of an object. Short names of
// our own, mrp and mrs, and full names pass.
var bare = regexp.MustCompile(`(?:^|[\s,])(pipelines?|stages?)(?:[\s,/"']|$)`)

// kubectlFlag is a flag with a value: a label, a name or a path may hold any word.
var kubectlFlag = regexp.MustCompile(`\s(?:(?:-[lnopfkc]|--(?:namespace|selector|output|patch|filename|field-selector|container))[ =]|--[a-z-]+=)(?:'[^']*'|"[^"]*"|\S+)`)

// bareKinds are the kubectl commands of a text that name our kinds bare.
func bareKinds(text string) []string {
	var found []string
	for _, command := range kubectlCommand.FindAllString(strings.ReplaceAll(text, "\\\n", " "), -1) {
		// What follows a sentence's end is prose.
		command, _, _ = strings.Cut(command, ". ")
		command, _, _ = strings.Cut(command, " #")
		if bare.MatchString(kubectlFlag.ReplaceAllString(command, " ")) {
			found = append(found, command)
		}
	}
	return found
}

// TestCommandsNameOurKindsInFull: `kubectl delete pipelines --all` deletes the pipelines of Tekton, Kubeflow or whoever
// else has that name in a cluster. Whatever a person may type from docs, chart, --help, conditions, Events or messages
// has pipelines.millrace.dev and stages.millrace.dev, or mrp and mrs.
func TestCommandsNameOurKindsInFull(t *testing.T) {
	root := filepath.Join("..", "..")
	kinds := []string{".go", ".md", ".yaml", ".yml", ".txt", ".tpl", ".sh", ".json", ".proto"}
	files, commands := 0, 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "dist") {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains(kinds, filepath.Ext(path)) && entry.Name() != "Makefile" || entry.Name() == "kubectl_test.go" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		commands += len(kubectlCommand.FindAll(content, -1))
		for _, command := range bareKinds(string(content)) {
			t.Errorf("%s: %s: write pipelines.millrace.dev or stages.millrace.dev (mrp or mrs): the bare name may be another project's", path, command)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 300 || commands < 60 {
		t.Errorf("found %d commands in %d files; the test does not see the project", commands, files)
	}
}

func TestBareKindsAreFound(t *testing.T) {
	cases := map[string]struct {
		text string
		want bool
	}{
		"delete all":            {"kubectl delete pipelines --all --all-namespaces", true},
		"one of them":           {"kubectl -n shop annotate stage shop-latency a=b", true},
		"behind a flag":         {"kubectl get --watch pipelines", true},
		"with a slash":          {"`kubectl scale stage/NAME --replicas=2`", true},
		"a list":                {"kubectl get pods,stages", true},
		"a format":              {`"kubectl -n %s annotate stage %s %s=false"`, true},
		"continued":             {"kubectl get \\\n  pipelines", true},
		"the end of a string":   {`"kubectl get pipelines"`, true},
		"full":                  {"kubectl delete pipelines.millrace.dev --all", false},
		"full, with a slash":    {"kubectl scale stages.millrace.dev/NAME --replicas=2", false},
		"short":                 {"kubectl get mrp,mrs", false},
		"a label":               {"kubectl get pods -l millrace.dev/pipeline=NAME,millrace.dev/stage=STAGE", false},
		"a definition":          {"kubectl delete crd pipelines.millrace.dev stages.millrace.dev", false},
		"a file":                {"kubectl apply -f pipelines/shop.yaml", false},
		"prose after code":      {"`kubectl apply` of a pipeline", false},
		"prose after a command": {"kubectl scale sets it. A stage has workers", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := len(bareKinds(c.text)) > 0; got != c.want {
				t.Errorf("%q: got %t, want %t", c.text, got, c.want)
			}
		})
	}
}
