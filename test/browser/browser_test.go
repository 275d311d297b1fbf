package browser

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
)

var (
	images  = flag.Bool("images", false, "renew the screenshots of docs/console.md")
	measure = flag.Duration("measure", 0, "how long to measure what the graph of a large pipeline costs, with nobody and then with one, two and ten who look")
)

// Events that come on top of the story: what somebody might send to attack who looks at it.
const (
	markup = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	bidi   = "invoice\u202egnp.exe\u2066 \u200bend"
)

// large is a body of n KiB.
func large(n int) string { return strings.Repeat("0123456789abcdef", n<<6) }

// TestConsole: every page shows what there is; the planted incident is found with its cause, an event is followed by its id, a dead letter
// is replayed and marked, and hostile text stays text.
func TestConsole(t *testing.T) {
	t.Parallel()
	started := time.Now()
	root, err := kube.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	incident := write(t, dir)
	address := run(t, harness.BuildBinary(t, harness.BuildOptions{}), root, dir)
	shots := filepath.Join(root, "dist", "console")
	if *images {
		shots = filepath.Join(root, "docs", "images")
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	wanted, err := json.Marshal(map[string]any{
		"address": address, "chromium": output(t, filepath.Join(root, "hack", "chromium", "find.sh")), "shots": shots, "images": *images, "profile": filepath.Join(dir, "profile"),
		"incident": incident, "dead": dead, "markup": markup, "bidi": bidi,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "console.mjs")
	node.Dir = install(t, root)
	node.Stdin = bytes.NewReader(wanted)
	told, err := node.CombinedOutput()
	t.Logf("%s", told)
	if err != nil {
		t.Errorf("console.mjs: %v; screenshots are in %s", err, shots)
	}
	t.Logf("took %s", time.Since(started).Round(time.Second))
}

// planted is what the pages have to show of an incident.
type planted struct {
	Cause  string `json:"cause"`  // kind/namespace/name
	Name   string `json:"name"`   // of the workload
	Second string `json:"second"` // part of the title
}

// dead is how many events of the input die.
const dead = 30 + 5 + 2

// write writes the input: a story with planted incidents, and hostile events.
func write(t *testing.T, dir string) planted {
	t.Helper()
	story, err := generator.Generate(generator.Options{Seed: 1, Events: 12_000, Invalid: 30, Undecodable: 5, Duplicates: 20, End: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := story.Write(dir); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "events.ndjson"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	encoder := json.NewEncoder(file)
	for id, body := range map[string]string{"hostile-markup": markup, "hostile-bidi": bidi, "hostile-large": large(900)} {
		if err := encoder.Encode(map[string]string{"id": id, "source": "/test", "type": "test.hostile", "body": body}); err != nil {
			t.Fatal(err)
		}
	}
	// Two that die: one with markup in what its dead letter shows, and one that is too large for an event.
	for _, e := range []map[string]string{{"id": markup, "source": "/test", "body": markup}, {"id": "too-large", "source": "/test", "type": "test.hostile", "body": large(1024)}} {
		if err := encoder.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range story.Truth.Incidents {
		if strings.Contains(i.Kind, "oom") {
			return planted{Cause: i.Root.Kind + "/" + i.Root.Namespace + "/" + i.Root.Name, Name: i.Root.Name, Second: "crash-loops"}
		}
	}
	t.Fatalf("the story has no workload that runs out of memory: %+v", story.Truth.Incidents)
	return planted{}
}

// run starts `millrace run` with a console, and returns the address that it prints.
func run(t *testing.T, binary, root, dir string) string {
	t.Helper()
	command := exec.Command(binary, "run", "-f", filepath.Join(root, "config", "samples", "observability.yaml"),
		"--input", filepath.Join(dir, "events.ndjson"), "--kubernetes-snapshot", filepath.Join(dir, "kubernetes-snapshot.json"),
		"--rate", "400", "--console", "127.0.0.1:0")
	told, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout = io.Discard
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		ended := time.AfterFunc(30*time.Second, func() { _ = command.Process.Kill() })
		defer ended.Stop()
		_ = command.Wait()
	})
	found := make(chan string, 1)
	go func() {
		pattern := regexp.MustCompile(`console at (http://\S+)/`)
		lines := bufio.NewScanner(told)
		for lines.Scan() {
			if m := pattern.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	select {
	case address := <-found:
		return address
	case <-time.After(time.Minute):
		t.Fatal("the run did not say where its console is")
		return ""
	}
}

// install installs the packages of the lock file into the cache folder, once for each lock file, and returns a folder that has them and
// the script.
func install(t *testing.T, root string) string {
	t.Helper()
	cache, err := kube.CacheRoot()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	from := filepath.Join(root, "test", "browser")
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(content)
	}
	dir := filepath.Join(cache, "browser", hex.EncodeToString(sum.Sum(nil)[:6]))
	if _, err := os.Stat(filepath.Join(dir, "installed")); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
			copyFile(t, filepath.Join(from, name), filepath.Join(dir, name))
		}
		npm := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts")
		npm.Dir = dir
		if told, err := npm.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v: the test needs Node.js 20 or newer with npm\n%s", err, told)
		}
		if err := os.WriteFile(filepath.Join(dir, "installed"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The script finds its packages from where it stands; another checkout may run another one.
	own := filepath.Join(t.TempDir(), "browser")
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join(from, "*.mjs"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%s has no scripts: %v", from, err)
	}
	for _, script := range scripts {
		copyFile(t, script, filepath.Join(own, filepath.Base(script)))
	}
	if err := os.Symlink(filepath.Join(dir, "node_modules"), filepath.Join(own, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return own
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func output(t *testing.T, script string, args ...string) string {
	t.Helper()
	var told bytes.Buffer
	command := exec.CommandContext(t.Context(), script, args...)
	command.Stderr = &told
	out, err := command.Output()
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w\n%s", script, err, told.String()))
	}
	return strings.TrimSpace(string(out))
}
