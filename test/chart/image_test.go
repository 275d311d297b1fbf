package chart_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestImageHasItsSources: the Dockerfile copies folders by name, and .dockerignore lets only
// those through. A package that the binary needs from anywhere else would break the image and
// nothing before it.
func TestImageHasItsSources(t *testing.T) {
	dockerfile, ignored := read(t, root+"/Dockerfile"), read(t, root+"/.dockerignore")
	copied := map[string]bool{".": true}
	for _, match := range regexp.MustCompile(`(?m)^COPY (\w+) (\w+)$`).FindAllStringSubmatch(dockerfile, -1) {
		copied[match[1]] = true
		if !strings.Contains(ignored, "\n!"+match[1]+"\n") {
			t.Errorf(".dockerignore hides %s, which the Dockerfile copies", match[1])
		}
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}{{end}}", ".")
	list.Dir = root
	output, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(output))
	if len(dirs) == 0 {
		t.Fatal("go list found no package of the binary")
	}
	for _, dir := range dirs {
		rel, err := filepath.Rel(absolute, dir)
		if err != nil {
			t.Fatal(err)
		}
		top, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
		if !copied[top] {
			t.Errorf("the binary needs %s, but the Dockerfile does not copy %s", rel, top)
		}
	}
}

// TestImageBuild runs the build command of the Dockerfile, and asks the result what it is: static,
// and stamped with its version.
func TestImageBuild(t *testing.T) {
	dockerfile := read(t, root+"/Dockerfile")
	match := regexp.MustCompile(`CGO_ENABLED=0 GOOS=\$TARGETOS GOARCH=\$TARGETARCH \\\n\s+(go build [^\n]*) -o /millrace \.\n`).FindStringSubmatch(dockerfile)
	if match == nil {
		t.Fatal("the Dockerfile has no static build of /millrace")
	}
	binary := filepath.Join(t.TempDir(), "millrace")
	build := exec.CommandContext(t.Context(), "sh", "-c", match[1]+" -o "+binary+" .")
	build.Dir = root
	build.Env = append(build.Environ(), "CGO_ENABLED=0", "VERSION=9.8.7")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", match[1], err, output)
	}
	info, err := exec.CommandContext(t.Context(), "go", "version", "-m", binary).CombinedOutput()
	if err != nil || !strings.Contains(string(info), "CGO_ENABLED=0") {
		t.Errorf("not built without cgo: %v\n%s", err, info)
	}
	version, err := exec.CommandContext(t.Context(), binary, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(version), "9.8.7") {
		t.Errorf("--version: got %q, %v, want 9.8.7", version, err)
	}
	for _, line := range []string{"FROM scratch", "USER 65532:65532", `ENTRYPOINT ["/millrace"]`} {
		if !strings.Contains(dockerfile, "\n"+line+"\n") {
			t.Errorf("the Dockerfile has no line %s", line)
		}
	}
}
