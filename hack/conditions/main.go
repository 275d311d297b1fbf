// Command conditions writes the tables of conditions and reasons into a page of the docs: from the text at each constant, which is
// the only place where it stands.
package main

import (
	"bytes"
	"fmt"
	"os"
)

// The lines of the page between which the tables stand.
const (
	begin = "<!-- conditions: from api/v1alpha1/conditions.go, by make generate -->\n"
	end   = "<!-- conditions: end -->\n"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: conditions CONSTANTS.go PAGE.md")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "conditions:", err)
		os.Exit(1)
	}
}

func write(constants, page string) error {
	source, err := os.ReadFile(constants)
	if err != nil {
		return err
	}
	catalog, err := parse(source)
	if err != nil {
		return fmt.Errorf("%s: %w", constants, err)
	}
	content, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	updated, err := replace(content, catalog.tables())
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, updated, 0o644)
}

// replace puts the tables between the two lines.
func replace(page []byte, tables string) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(begin))
	_, after, closed := bytes.Cut(rest, []byte(end))
	if !ok || !closed {
		return nil, fmt.Errorf("has no lines %q and %q", begin, end)
	}
	return bytes.Join([][]byte{before, []byte(begin + "\n" + tables + "\n" + end), after}, nil), nil
}
