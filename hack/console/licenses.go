package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

var packagePath = regexp.MustCompile(`^node_modules/((?:@[^/]+/)?[^/]+)/`)

// sizes are the bytes of each package in the bundle, and of the console's own code.
func sizes(metafile string) (map[string]int, error) {
	var meta struct {
		Outputs map[string]struct {
			Inputs map[string]struct{ BytesInOutput int }
		}
	}
	if err := json.Unmarshal([]byte(metafile), &meta); err != nil {
		return nil, err
	}
	bytes := map[string]int{}
	for _, output := range meta.Outputs {
		for input, part := range output.Inputs {
			name := "the console itself"
			if m := packagePath.FindStringSubmatch(filepath.ToSlash(input)); m != nil {
				name = m[1]
			}
			bytes[name] += part.BytesInOutput
		}
	}
	return bytes, nil
}

// licenses are those of all packages that the bundle holds.
func licenses(work, metafile string) ([]byte, error) {
	var meta struct {
		Inputs map[string]struct{} `json:"inputs"`
	}
	if err := json.Unmarshal([]byte(metafile), &meta); err != nil {
		return nil, err
	}
	var names []string
	for input := range meta.Inputs {
		if m := packagePath.FindStringSubmatch(filepath.ToSlash(input)); m != nil && !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	var out bytes.Buffer
	for _, name := range names {
		dir := filepath.Join(work, "node_modules", filepath.FromSlash(name))
		content, err := os.ReadFile(filepath.Join(dir, "package.json"))
		if err != nil {
			return nil, err
		}
		var info struct{ Version, License string }
		if err := json.Unmarshal(content, &info); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		found, err := filepath.Glob(filepath.Join(dir, "LICENSE*"))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("package %s has no file LICENSE", name)
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%s %s (%s)\n\n%s\n\n", name, info.Version, info.License, bytes.TrimSpace(text))
	}
	return out.Bytes(), nil
}
