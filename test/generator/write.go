package generator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// The files that Write makes.
const (
	EventsFile   = "events.ndjson"
	TruthFile    = "truth.json"
	SnapshotFile = "kubernetes-snapshot.json"
)

// Write writes the story into folder dir, which it makes: the lines, the truth and the
// cluster. Errors name the file.
func (s *Story) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the story: %w", err)
	}
	if err := s.writeLines(filepath.Join(dir, EventsFile)); err != nil {
		return err
	}
	truth, err := json.MarshalIndent(s.Truth, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the truth: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, TruthFile), append(truth, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the truth: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, SnapshotFile), s.Snapshot, 0o644); err != nil {
		return fmt.Errorf("write the cluster: %w", err)
	}
	return nil
}

func (s *Story) writeLines(file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write the events: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write the events: %w", cerr)
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	for _, line := range s.Lines {
		if _, err := w.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("write the events: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the events: %w", err)
	}
	return nil
}
