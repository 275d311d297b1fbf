package pipelinetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/usage"
)

// recording writes what happens as a test file.
type recording struct {
	file, input string
	advance     time.Duration
}

// recordedEvents is how many events of a port are written down at most.
const recordedEvents = 200

func (r *recording) check(o *options) error {
	switch {
	case r.file == "" && (r.input != "" || r.advance != 0):
		return errors.New("--input and --advance need --record FILE")
	case r.file == "":
		return nil
	case len(o.files) != 1:
		return errors.New("--record takes one -f: a test file, or a manifest with --input")
	case r.input == "" && r.advance != 0:
		return errors.New("--advance needs --input FILE")
	case r.advance < 0:
		return fmt.Errorf("--advance %s: must not be negative", r.advance)
	case o.run != "" || o.junit != "" || o.output != "text":
		return errors.New("--record goes with none of --run, --junit and -o")
	}
	return nil
}

// write runs each test twice, keeps what was the same, and makes sure that the result passes.
func (r *recording) write(ctx context.Context, l *loader, run *runner, files []string, notices io.Writer) error {
	if err := r.keeps(files[0]); err != nil {
		return usage.Error{Err: err}
	}
	recorded, err := r.scaffold(ctx, l, files[0])
	if err != nil {
		return err
	}
	suite, err := l.scaffolded(ctx, r.file, recorded)
	if err != nil {
		return err
	}
	for i := range recorded.Tests {
		first, _, err := run.observe(ctx, suite, i, true)
		if err != nil {
			return fmt.Errorf("%s: %w", recorded.Tests[i].Name, err)
		}
		second, _, err := run.observe(ctx, suite, i, true)
		if err != nil {
			return fmt.Errorf("%s: %w", recorded.Tests[i].Name, err)
		}
		recorded.Tests[i].Expect = suite.happened(&recorded.Tests[i], first, second)
	}
	if suite, err = l.scaffolded(ctx, r.file, recorded); err != nil {
		return err
	}
	for i := range recorded.Tests {
		if result := run.run(ctx, suite, i); !result.Passed {
			return fmt.Errorf("%s is not written: what happens in %q is not the same each time:\n%s", r.file, result.Name, strings.Join(result.lines(), "\n"))
		}
	}
	text, err := encode(recorded)
	if err != nil {
		return err
	}
	if err := r.replace(text); err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	fmt.Fprintf(notices, "%s: recorded %d, and run again: passed\n", r.file, len(recorded.Tests))
	return nil
}

// keeps makes sure that no file is lost: the one that is written is new, or the test that -f names.
func (r *recording) keeps(file string) error {
	there, err := os.Stat(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	if from, err := os.Stat(file); err == nil && r.input == "" && os.SameFile(there, from) {
		return nil
	}
	return fmt.Errorf("--record %s: is there already: name another file, or remove it", r.file)
}

// replace writes the file as a whole.
func (r *recording) replace(text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(r.file), ".record-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), r.file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// scaffold is the file without what is expected.
func (r *recording) scaffold(ctx context.Context, l *loader, file string) (*File, error) {
	if r.input != "" {
		pipeline, err := r.seen(file)
		if err != nil {
			return nil, err
		}
		input, err := r.seen(r.input)
		if err != nil {
			return nil, err
		}
		p := l.plan(ctx, []string{file})
		switch {
		case p.err != nil:
			return nil, p.err
		case len(p.problems) > 0:
			return nil, errProblems(p.problems)
		}
		t := Test{Name: "what becomes of " + filepath.Base(r.input), Steps: []Step{{File: input}}, NothingElse: true}
		for _, s := range p.plan.Stages {
			if s.Config.Sink != nil && s.Head == "" {
				t.Skip = append(t.Skip, s.Name)
			}
		}
		if r.advance > 0 {
			t.Steps = append(t.Steps, Step{Advance: r.advance.String()})
		}
		return &File{APIVersion: apiVersion, Kind: kind, Manifests: []string{pipeline}, Tests: []Test{t}}, nil
	}
	if set, _, err := l.checker.Load(ctx, file); err == nil && len(set.Pipelines) > 0 {
		return nil, usage.Error{Err: errors.New("--record of a manifest needs --input")}
	}
	suites, problems, err := l.load(ctx, []string{file})
	switch {
	case err != nil:
		return nil, err
	case len(problems) > 0:
		return nil, errProblems(problems)
	case len(suites) != 1:
		return nil, fmt.Errorf("%s holds %d objects: --record takes one", file, len(suites))
	}
	f := suites[0].File
	for i, t := range f.Tests {
		for k, s := range t.Steps {
			if len(s.Expect) > 0 {
				return nil, errProblems([]manifest.Problem{suites[0].object.Problem(fmt.Sprintf("tests[%d].steps[%d].expect", i, k),
					"is between steps, and --record writes what is expected in the end: take it out")})
			}
		}
	}
	manifests, err := suites[0].manifests()
	if err != nil {
		return nil, err
	}
	f.Manifests = nil
	for _, m := range manifests {
		name, err := r.seen(m)
		if err != nil {
			return nil, err
		}
		f.Manifests = append(f.Manifests, name)
	}
	if f.Kubernetes != nil && f.Kubernetes.File != "" {
		if f.Kubernetes.File, err = r.seen(suites[0].path(f.Kubernetes.File)); err != nil {
			return nil, err
		}
	}
	for i := range f.Tests {
		t := &f.Tests[i]
		t.Expect, t.NothingElse = nil, true
		for k := range t.Steps {
			if name := t.Steps[k].File; name != "" {
				if t.Steps[k].File, err = r.seen(suites[0].path(name)); err != nil {
					return nil, err
				}
			}
		}
	}
	return &f, nil
}

// seen is the path of a file as seen from the file that is written.
func (r *recording) seen(file string) (string, error) {
	from, err := filepath.Abs(filepath.Dir(r.file))
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}

// scaffolded reads a file that is not written yet, as if it stood under a name.
func (l *loader) scaffolded(ctx context.Context, name string, f *File) (*Suite, error) {
	content, err := encode(f)
	if err != nil {
		return nil, err
	}
	objects, problems := l.format.Read(name, content)
	if len(problems) > 0 {
		return nil, errProblems(problems)
	}
	s := &Suite{Name: name, object: objects[0]}
	if err := objects[0].Decode(&s.File); err != nil {
		return nil, err
	}
	if problems := l.complete(ctx, s); len(problems) > 0 {
		return nil, errProblems(problems)
	}
	return s, nil
}

// happened is what ports carried in both of two runs: events where no stage reads the port, else their number.
func (s *Suite) happened(t *Test, first, second map[string]*port) (all []Expectation) {
	read := map[string]bool{}
	for _, stage := range s.Plan.Stages {
		for _, in := range stage.Config.Inputs {
			read[config.PortName(in.From)] = true
		}
	}
	for _, stage := range s.Plan.Stages {
		if slices.Contains(s.skipped(t), stage.Name) {
			continue
		}
		for _, name := range sortedPorts(stage.Config) {
			one, other := first[name], second[name]
			if one == nil || other == nil || len(one.events) == 0 && len(other.events) == 0 {
				continue
			}
			e := Expectation{Port: name}
			if n := len(one.events); n == len(other.events) {
				e.Count = &n
			} else {
				e.AtLeast = new(min(n, len(other.events)))
			}
			switch _, p, _ := strings.Cut(name, "/"); {
			case p == config.PortDeadLetter:
				e.Reasons = sameReasons(one, other)
			case p == config.PortInsights:
				e.Insights = sameInsights(one, other)
			case !read[name]:
				e.Events = sameEvents(one, other)
			}
			all = append(all, e)
		}
	}
	return all
}

func sortedPorts(c config.StageConfig) (names []string) {
	for port := range c.Outputs {
		names = append(names, c.Stage+"/"+port)
	}
	slices.Sort(names)
	return names
}

func sameReasons(one, other *port) map[string]int {
	count := func(p *port) map[string]int {
		n := map[string]int{}
		for _, v := range p.views {
			n[str(v["reason"])]++
		}
		return n
	}
	a, b := count(one), count(other)
	for reason, n := range a {
		if b[reason] != n {
			delete(a, reason)
		}
	}
	return a
}

func sameInsights(one, other *port) (same []Insight) {
	a, _ := lastRevisions(one.views)
	b, _ := lastRevisions(other.views)
	for _, in := range a {
		i := slices.IndexFunc(b, func(o Insight) bool {
			return o.Rule == in.Rule && o.Root == in.Root && o.Severity == in.Severity && o.Status == in.Status && o.Title == in.Title
		})
		if i >= 0 {
			b = slices.Delete(b, i, i+1)
			in.Affects = nil // they may be hundreds
			same = append(same, in)
		}
	}
	return same
}

// sameEvents are the events of both, with the members that were the same.
func sameEvents(one, other *port) (same []description) {
	rest := slices.Clone(other.views)
	for _, v := range one.views {
		i := slices.IndexFunc(rest, func(o view) bool { return o["id"] == v["id"] && o["source"] == v["source"] && o["type"] == v["type"] })
		if i < 0 { // some ids follow from the time at which something was stored
			i = slices.IndexFunc(rest, func(o view) bool {
				return o["source"] == v["source"] && o["type"] == v["type"] && reflect.DeepEqual(o["entity"], v["entity"])
			})
		}
		if i < 0 {
			continue
		}
		alike := common(map[string]any(v), map[string]any(rest[i]))
		delete(alike, "ingesttime")
		rest = slices.Delete(rest, i, i+1)
		if same = append(same, alike); len(same) == recordedEvents {
			break
		}
	}
	return same
}

// common keeps the members that are the same in both.
func common(a, b map[string]any) map[string]any {
	same := map[string]any{}
	for name, v := range a {
		w, ok := b[name]
		va, isA := v.(map[string]any)
		wa, isB := w.(map[string]any)
		switch {
		case !ok:
		case isA && isB:
			if inner := common(va, wa); len(inner) > 0 || len(va) == 0 {
				same[name] = inner
			}
		case reflect.DeepEqual(v, w):
			same[name] = v
		}
	}
	return same
}

// encode writes a file as YAML, with its members in the order of the struct.
func encode(f *File) ([]byte, error) {
	var buffer bytes.Buffer
	e := json.NewEncoder(&buffer)
	e.SetEscapeHTML(false)
	if err := e.Encode(f); err != nil {
		return nil, err
	}
	var root yamlv3.Node
	if err := yamlv3.Unmarshal(buffer.Bytes(), &root); err != nil {
		return nil, err
	}
	block(root.Content[0], false)
	var out bytes.Buffer
	y := yamlv3.NewEncoder(&out)
	y.SetIndent(2)
	if err := y.Encode(&root); err != nil {
		return nil, err
	}
	return out.Bytes(), y.Close()
}

// plainKey is a key that needs no quotes, in any version of YAML.
var plainKey = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{3,}$|^(id|to)$`)

// block has lists and their objects stand on lines of their own, and what is inside of events and insights on one.
func block(n *yamlv3.Node, flow bool) {
	n.Style &^= yamlv3.FlowStyle
	if flow {
		n.Style |= yamlv3.FlowStyle
	}
	for i, child := range n.Content {
		key := ""
		if n.Kind == yamlv3.MappingNode {
			if i%2 == 0 {
				if plainKey.MatchString(child.Value) && child.Value != "true" && child.Value != "null" && child.Value != "false" {
					child.Style = 0
				}
				continue
			}
			key = n.Content[i-1].Value
		}
		switch key {
		case "send", "events", "exactly", "insights", "objects":
			child.Style &^= yamlv3.FlowStyle
			for _, element := range child.Content {
				block(element, true)
			}
		default:
			block(child, flow)
		}
	}
}
