package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Tree is the source of one module.
type Tree struct {
	// Module is the module path.
	Module string
	// Packages by folder relative to the module's root, with forward slashes; the root is ".".
	Packages []*Package
}

// Package is the Go files of one folder, tests included.
type Package struct {
	Dir   string
	Files []*File
}

// File is one parsed Go file.
type File struct {
	// Path is relative to the module's root, with forward slashes.
	Path string
	// Test is true for _test.go files.
	Test bool
	// Generated is true when the file says "Code generated ... DO NOT EDIT.".
	Generated bool
	// Imports in the order of the file.
	Imports []Import
	Syntax  *ast.File

	fset *token.FileSet
}

// Import is one import of a file.
type Import struct {
	// Path as written.
	Path string
	// Dir is the folder of an imported package of the module itself, else empty.
	Dir  string
	Line int
}

// line of a node in the file.
func (f *File) line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

// base is the file's name without its folder.
func (f *File) base() string { return path.Base(f.Path) }

// Scan parses every Go file of the module at root. It leaves out what the go command leaves out
// (testdata, vendor, names that start with a dot or an underscore) and nested modules.
func Scan(root, module string) (*Tree, error) {
	tree := &Tree{Module: module}
	byDir := map[string]*Package{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			return skipDir(name, rel, entry.Name())
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		file, err := parse(fset, name, rel, module)
		if err != nil {
			return err
		}
		dir := path.Dir(rel)
		if byDir[dir] == nil {
			byDir[dir] = &Package{Dir: dir}
			tree.Packages = append(tree.Packages, byDir[dir])
		}
		byDir[dir].Files = append(byDir[dir].Files, file)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", root, err)
	}
	return tree, nil
}

func skipDir(name, rel, base string) error {
	if rel == "." {
		return nil
	}
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func parse(fset *token.FileSet, name, rel, module string) (*File, error) {
	// Objects are resolved, although deprecated, because they tell a local variable from a
	// package-level one of the same name without type-checking the module.
	syntax, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	file := &File{
		Path:      rel,
		Test:      strings.HasSuffix(rel, "_test.go"),
		Generated: ast.IsGenerated(syntax),
		Syntax:    syntax,
		fset:      fset,
	}
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: import %s: %w", rel, spec.Path.Value, err)
		}
		file.Imports = append(file.Imports, Import{Path: imported, Dir: ownDir(imported, module), Line: file.line(spec)})
	}
	return file, nil
}

// ownDir is the folder of a package of the module, or empty for a package from outside.
func ownDir(imported, module string) string {
	if imported == module {
		return "."
	}
	dir, own := strings.CutPrefix(imported, module+"/")
	if !own {
		return ""
	}
	return dir
}

// within tells whether dir is one of the roots or below one.
func within(dir string, roots ...string) bool {
	for _, root := range roots {
		if dir == root || strings.HasPrefix(dir, root+"/") {
			return true
		}
	}
	return false
}
