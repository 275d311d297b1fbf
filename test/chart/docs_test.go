package chart_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedCommands renders the chart with the flags of every helm command in
// docs/install.md that is about it, and finds the values of its table in values.yaml.
func TestDocumentedCommands(t *testing.T) {
	doc := strings.ReplaceAll(read(t, root+"/docs/install.md"), "\\\n", " ")
	h := newHelm(t)
	found := 0
	for _, line := range strings.Split(doc, "\n") {
		if !strings.HasPrefix(line, "helm ") || !strings.Contains(line, "charts/millrace") {
			continue
		}
		found++
		// --reuse-values has the first install's server.
		args := []string{"--set", "nats.url=nats://nats.nats.svc:4222"}
		for _, match := range regexp.MustCompile(`--set '?([^\s']+)`).FindAllStringSubmatch(line, -1) {
			args = append(args, "--set", match[1])
		}
		if _, err := h.template(t.Context(), args...); err != nil {
			t.Errorf("%s\n%v", line, err)
		}
	}
	if found < 3 {
		t.Errorf("found %d commands, want the install and the upgrades", found)
	}
}

// TestDocumentedValues: the table of docs/install.md names values that exist.
func TestDocumentedValues(t *testing.T) {
	var values map[string]any
	readYAML(t, chartDir+"/values.yaml", &values)
	found := 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z][^|]*`) \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(read(t, root+"/docs/install.md"), -1) {
		parent := ""
		for _, name := range strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ") {
			if strings.HasPrefix(name, ".") {
				name = parent + name
			}
			name = strings.TrimSuffix(name, ".*")
			if i := strings.LastIndex(name, "."); i > 0 {
				parent = name[:i]
			}
			found++
			if at(values, strings.Split(name, ".")) == nil {
				t.Errorf("values.yaml has no %s", name)
			}
		}
	}
	if found < 15 {
		t.Errorf("found %d values in the table", found)
	}
}
