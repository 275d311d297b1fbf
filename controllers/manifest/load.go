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

// Load reads files and folders (their .yaml, .yml and .json files) as one set, and returns all
// problems. An error says that a file cannot be read; what is in it is never an error.
func Load(ctx context.Context, paths ...string) (*Set, []Problem, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, nil, err
	}
	l, err := newLoader()
	if err != nil {
		return nil, nil, err
	}
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
func Read(ctx context.Context, name string, r io.Reader) (*Set, []Problem, error) {
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, fmt.Errorf("read the manifest %s: %w", name, err)
	}
	l, err := newLoader()
	if err != nil {
		return nil, nil, err
	}
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
