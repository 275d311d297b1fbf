package chart_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

// tourOf is a block of commands in README.md, as people copy it.
func tourOf(t *testing.T, name string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)<!-- tour of " + name + " -->\n```sh\n(.*?)```\n").FindStringSubmatch(read(t, root+"/README.md"))
	if found == nil {
		t.Fatalf("README.md has no tour of %s", name)
	}
	return found[1]
}

// TestTourOfMakeCluster starts what `make cluster` starts and types the tour of README.md, word for word, in a folder
// that has what a clone has: a Pipeline becomes Ready, an event is stored, and a broken Deployment becomes an insight.
func TestTourOfMakeCluster(t *testing.T) {
	tour := tourOf(t, "make cluster")
	dir := t.TempDir()
	for _, name := range []string{"charts", "config"} {
		target, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	env := filepath.Join(dir, "dist", "cluster.env")
	cluster := start(t, exec.Command(harness.BuildBinary(t, harness.BuildOptions{Package: "hack/cluster"}),
		"--env", env, "--image", "millrace="+harness.BuildBinary(t, harness.BuildOptions{})))
	harness.Eventually(t, 5*time.Minute, func() error {
		_, err := os.Stat(env)
		return err
	})
	harness.Eventually(t, 10*time.Second, func() error { return cluster.said(tour) })

	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-eu", "-c", tour)
	shell.Dir = dir
	// A new user has no settings, and the settings of whoever runs the test must not matter.
	shell.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for _, want := range []string{
		`observability\s+True\s+Ready\s+4/4`, // the Pipeline
		`demo\.hello`,                        // the event, as it is stored
		`insights\.correlate\..*`, `broken`,  // the insight
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the tour printed no %s:\n%s", want, out)
		}
	}
}

// TestTourOfARealCluster: the values of the tour are values of the chart.
func TestTourOfARealCluster(t *testing.T) {
	h := newHelm(t)
	found := 0
	for _, line := range strings.Split(strings.ReplaceAll(tourOf(t, "a real cluster"), "\\\n", " "), "\n") {
		if !strings.Contains(line, "charts/millrace") {
			continue
		}
		found++
		var args []string
		for _, match := range regexp.MustCompile(`--set (\S+)`).FindAllStringSubmatch(line, -1) {
			args = append(args, "--set", match[1])
		}
		rendered, err := h.template(t.Context(), args...)
		if err != nil {
			t.Errorf("%s\n%v", line, err)
		}
		if want := "--nats-url=nats://nats.nats.svc:4222"; !strings.Contains(rendered, want) {
			t.Errorf("%s\nrenders no %s", line, want)
		}
	}
	if found != 1 {
		t.Errorf("found %d commands with the chart, want the install", found)
	}
}

// background is a program that runs until the test ends.
type background struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func start(t *testing.T, command *exec.Cmd) *background {
	t.Helper()
	b := &background{}
	command.Dir = root
	command.Stdout, command.Stderr = b, b
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			if err != nil || t.Failed() {
				t.Errorf("%s: %v\n%s", command.Path, err, b.text())
			}
		case <-time.After(time.Minute):
			t.Errorf("%s does not end; it printed\n%s", command.Path, b.text())
			_ = command.Process.Kill()
			<-ended
		}
	})
	return b
}

func (b *background) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(text)
}

func (b *background) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

// said is nil when the program has printed text.
func (b *background) said(text string) error {
	if got := b.text(); !strings.Contains(got, text) {
		return fmt.Errorf("the program has not printed\n%s\nbut\n%s", text, got)
	}
	return nil
}
