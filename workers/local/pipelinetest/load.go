package pipelinetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/cel"
)

// suffix ends the name of a test file in a folder.
const suffix = ".test.yaml"

// Suite is one object of a test file with the plan of its pipeline.
type Suite struct {
	File
	// Name is the path of the file.
	Name string
	Plan *plan.Plan
	// models is the folder of the first manifest, where models of the pipeline are.
	models string

	object manifest.Object
}

// loader reads test files.
type loader struct {
	format  *manifest.Format
	checker *manifest.Checker
	env     *cel.Env
	plans   map[string]planned // by their files
}

type planned struct {
	plan     *plan.Plan
	problems []manifest.Problem
	err      error
}

func newLoader() (*loader, error) {
	format, err := manifest.NewFormat(apiVersion, kind, schema)
	if err != nil {
		return nil, err
	}
	checker, err := manifest.NewChecker()
	if err != nil {
		return nil, err
	}
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	return &loader{format, checker, env, map[string]planned{}}, nil
}

// find replaces folders by the test files in them and in the folders below.
func find(paths []string) (files []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read the tests: %w", err)
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		before := len(files)
		err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.HasSuffix(name, suffix) {
				files = append(files, name)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the tests: %w", err)
		}
		if len(files) == before {
			return nil, fmt.Errorf("read the tests: folder %s has no file that ends in %s", path, suffix)
		}
	}
	return files, nil
}

// load reads files, and returns their suites or all problems. An error says that a file cannot be read.
func (l *loader) load(ctx context.Context, files []string) (suites []*Suite, problems []manifest.Problem, err error) {
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, fmt.Errorf("read the tests: %w", err)
		}
		objects, found := l.format.Read(name, content)
		problems = append(problems, found...)
		if len(found) > 0 {
			continue
		}
		for _, o := range objects {
			s := &Suite{Name: name, object: o}
			if err := o.Decode(&s.File); err != nil {
				problems = append(problems, o.Problem("", err.Error()))
				continue
			}
			problems = append(problems, l.complete(ctx, s)...)
			suites = append(suites, s)
		}
	}
	return suites, problems, nil
}

// complete plans the pipeline of a suite, and checks what only its plan can tell.
func (l *loader) complete(ctx context.Context, s *Suite) []manifest.Problem {
	files, err := s.manifests()
	if err != nil {
		return []manifest.Problem{s.object.Problem("manifests", err.Error())}
	}
	p := l.plan(ctx, files)
	if p.err != nil {
		return []manifest.Problem{s.object.Problem("manifests", p.err.Error())}
	}
	if len(p.problems) > 0 {
		return p.problems
	}
	s.Plan, s.models = p.plan, filepath.Dir(files[0])
	c := &check{suite: s, env: l.env}
	c.run()
	return c.problems
}

// path is the path of a file that the suite names.
func (s *Suite) path(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(filepath.Dir(s.Name), file)
}

// manifests are the files of the pipeline.
func (s *Suite) manifests() ([]string, error) {
	if len(s.Manifests) > 0 {
		files := make([]string, len(s.Manifests))
		for i, name := range s.Manifests {
			files[i] = s.path(name)
		}
		return files, nil
	}
	dir := filepath.Dir(s.Name)
	name, ok := strings.CutSuffix(filepath.Base(s.Name), suffix)
	if !ok {
		return nil, fmt.Errorf("is missing: name the manifest, or the file NAME%s", suffix)
	}
	for _, file := range []string{filepath.Join(dir, name+".yaml"), filepath.Join(dir, "..", name+".yaml")} {
		if _, err := os.Stat(file); err == nil {
			return []string{file}, nil
		}
	}
	return nil, fmt.Errorf("is missing: there is no %s.yaml beside the test or in the folder above", name)
}

// plan plans the one pipeline of some files.
func (l *loader) plan(ctx context.Context, files []string) planned {
	key := strings.Join(files, "\n")
	if p, ok := l.plans[key]; ok {
		return p
	}
	var p planned
	set, problems, err := l.checker.Load(ctx, files...)
	switch {
	case err != nil:
		p.err = err
	case len(problems) > 0:
		p.problems = problems
	case len(set.Pipelines) != 1:
		p.err = fmt.Errorf("%s: %d Pipelines: a test takes one", strings.Join(files, ", "), len(set.Pipelines))
	default:
		p.plan = set.Plans[0]
	}
	l.plans[key] = p
	return p
}

// Snapshot writes the objects of the cluster to a file in dir, and returns where the enricher is to look; empty = nowhere.
func (s *Suite) snapshot(dir string) (string, error) {
	switch {
	case s.Kubernetes == nil:
		return "", nil
	case s.Kubernetes.File != "":
		return s.path(s.Kubernetes.File), nil
	}
	list, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": s.Kubernetes.Objects})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "kubernetes.json")
	return file, os.WriteFile(file, list, 0o600)
}

// errProblems says that test files are wrong; they were printed.
func errProblems(problems []manifest.Problem) error {
	lines := make([]string, 0, len(problems))
	for _, p := range slices.Compact(problems) {
		lines = append(lines, p.String())
	}
	return errors.New("the tests are not valid:\n" + strings.Join(lines, "\n"))
}
