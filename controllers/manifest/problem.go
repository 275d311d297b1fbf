package manifest

import (
	"cmp"
	"fmt"
	"slices"
)

// Problem is one reason why a manifest would be refused.
type Problem struct {
	File string
	// Line is where the field stands, counted from 1.
	Line int
	// Path is the field inside its object; empty when the problem is the object as a whole.
	Path    string
	Message string
}

// String is file:line: path: message, which editors and terminals turn into a link.
func (p Problem) String() string {
	if p.Path == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Path, p.Message)
}

// order sorts problems by place and drops doubles; files stay in the order they were given.
func order(problems []Problem, files map[string]int) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(files[a.File], files[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path))
	})
	return slices.Compact(problems)
}
