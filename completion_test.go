package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestCompletion: all shells are served, and flags with few values are completed.
func TestCompletion(t *testing.T) {
	run := func(args ...string) string {
		var b bytes.Buffer
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(&b)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		return b.String()
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if script := run("completion", shell); !strings.Contains(script, "__complete") || !strings.Contains(script, "millrace") {
			t.Errorf("%s: the script is %.200q", shell, script)
		}
	}
	if got := run("__complete", "graph", "--format", ""); !strings.Contains(got, "mermaid") {
		t.Errorf("the formats of graph: %q", got)
	}
	names := run("__complete", "")
	for _, name := range []string{"top", "graph", "diff", "tap", "trace", "incidents", "patterns", "dlq", "run", "lint", "test"} {
		if !strings.Contains(names, "\n"+name+"\t") && !strings.HasPrefix(names, name+"\t") {
			t.Errorf("%s is not completed:\n%s", name, names)
		}
	}
}
