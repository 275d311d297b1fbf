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

// TestImageBuild reads the build in the Dockerfile, since no container engine runs here: static,
// stamped with its version as `make build` does, in an image with no shell and no root.
func TestImageBuild(t *testing.T) {
	dockerfile, makefile, main := read(t, root+"/Dockerfile"), read(t, root+"/Makefile"), read(t, root+"/main.go")
	for name, c := range map[string]struct{ text, want string }{
		"static":                {dockerfile, `CGO_ENABLED=0 GOOS=\$TARGETOS GOARCH=\$TARGETARCH \\\n\s+go build [^\n]* -o /millrace \.\n`},
		"version of the image":  {dockerfile, `go build [^\n]*-X main\.version=\$VERSION"`},
		"version of make build": {makefile, `go build [^\n]*-X main\.version=\$\(VERSION\)"`},
		"variable they set":     {main, `(?m)^var version = "`},
		"nothing else inside":   {dockerfile, `\nFROM scratch\n`},
		"a number as the user":  {dockerfile, `\nUSER [1-9]\d+:\d+\n`},
		"entrypoint":            {dockerfile, `\nENTRYPOINT \["/millrace"\]\n`},
	} {
		if !regexp.MustCompile(c.want).MatchString(c.text) {
			t.Errorf("%s: found nothing that matches %s", name, c.want)
		}
	}
}
