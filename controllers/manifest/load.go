package manifest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// defaultNATSURL stands for the operator's server, which no file can tell.
const defaultNATSURL = "nats://127.0.0.1:4222"

// Set is what some files hold.
type Set struct {
	Pipelines []v1alpha1.Pipeline
	// Stages are the Stage objects: attached by users, since nobody writes down the others.
	Stages []v1alpha1.Stage
	// Plans are those of Pipelines, at the same index; nil for a Pipeline with problems.
	Plans []*plan.Plan
	// Detached are the names of Stages whose Pipeline is in none of the files, so that they
	// are checked alone.
	Detached []string
	// Others counts objects of other APIs, which are not checked.
	Others int
}

// Checker checks manifests against the definitions, which it has compiled once: that takes
// longer than most checks. It is safe for concurrent use.
type Checker struct {
	// JetStreamDomain is that of Pipelines that name neither a NATS server nor a domain.
	JetStreamDomain config.Domain

	schemas map[string]*kindSchema
}

// NewChecker compiles the definitions.
func NewChecker() (*Checker, error) {
	schemas, err := loadSchemas()
	if err != nil {
		return nil, err
	}
	return &Checker{schemas: schemas}, nil
}

// Open reads files as Load does, or standard input where that is the one that is named.
func (c *Checker) Open(ctx context.Context, stdin io.Reader, files []string) (*Set, []Problem, error) {
	if slices.Equal(files, []string{"-"}) {
		return c.Read(ctx, "-", stdin)
	}
	return c.Load(ctx, files...)
}

// Plans plans the Pipelines of files, or of standard input where that is the one that is named. That one has a problem is an error.
func Plans(ctx context.Context, stdin io.Reader, files []string, domain config.Domain) ([]*plan.Plan, error) {
	c, err := NewChecker()
	if err != nil {
		return nil, err
	}
	c.JetStreamDomain = domain
	set, problems, err := c.Open(ctx, stdin, files)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s (%d problems in all: see millrace lint)", problems[0], len(problems))
	}
	return set.Plans, nil
}

// Load is NewChecker and Checker.Load, for programs that check once.
func Load(ctx context.Context, paths ...string) (*Set, []Problem, error) {
	c, err := NewChecker()
	if err != nil {
		return nil, nil, err
	}
	return c.Load(ctx, paths...)
}

// Load reads files and folders (their .yaml, .yml and .json files) as one set, and returns all
// problems. An error says that a file cannot be read; what is in it is never an error.
func (c *Checker) Load(ctx context.Context, paths ...string) (*Set, []Problem, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, nil, err
	}
	l := c.loader()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("read the manifest: %w", err)
		}
		l.add(ctx, file, content)
	}
	set, problems := l.finish()
	return set, problems, nil
}

// Read is Load for a stream; name stands for the file in problems.
func (c *Checker) Read(ctx context.Context, name string, r io.Reader) (*Set, []Problem, error) {
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, fmt.Errorf("read the manifest %s: %w", name, err)
	}
	l := c.loader()
	l.add(ctx, name, content)
	set, problems := l.finish()
	return set, problems, nil
}

// expand replaces folders by the manifests in them, in the order of their names.
func expand(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read the manifest: %w", err)
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("read the manifests: %w", err)
		}
		before := len(files)
		for _, entry := range entries {
			suffix := strings.ToLower(filepath.Ext(entry.Name()))
			if !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, suffix) {
				files = append(files, filepath.Join(path, entry.Name()))
			}
		}
		if len(files) == before {
			return nil, fmt.Errorf("read the manifests: folder %s has no .yaml, .yml or .json file", path)
		}
	}
	return files, nil
}
