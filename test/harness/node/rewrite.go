package node

import (
	"path/filepath"
	"slices"
	"strings"
)

// rewriter turns paths inside a container into paths of the host. A mount
// path is replaced where a path may begin (at the start of the text, after
// one of = : , ; @ quotes or white space, or after file://) and where it
// ends as a path element does. Contents of files are never rewritten.
type rewriter struct {
	root  string
	paths []string // longest first
}

func newRewriter(root string, paths []string) rewriter {
	paths = slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == "/" })
	slices.SortFunc(paths, func(a, b string) int { return len(b) - len(a) })
	return rewriter{root: root, paths: paths}
}

func (r rewriter) rewrite(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		if mount := r.mountAt(text, i); mount != "" {
			b.WriteString(filepath.Join(r.root, filepath.FromSlash(mount)))
			i += len(mount)
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

func (r rewriter) mountAt(text string, i int) string {
	if text[i] != '/' || !beginsPath(text[:i]) {
		return ""
	}
	for _, mount := range r.paths {
		if rest, ok := strings.CutPrefix(text[i:], mount); ok && endsElement(rest) {
			return mount
		}
	}
	return ""
}

func beginsPath(before string) bool {
	if before == "" || strings.HasSuffix(before, "file://") {
		return true
	}
	return strings.ContainsRune("=:,;@'\"` \t\n(<>", rune(before[len(before)-1]))
}

func endsElement(rest string) bool {
	if rest == "" {
		return true
	}
	c := rest[0]
	word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.~+", rune(c))
	return !word
}
