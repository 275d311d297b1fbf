package arch

import (
	"fmt"
	"go/ast"
	"path"
	"strings"
)

// calls visits every pkg.name(...) call of a file where pkg is an import of the given path.
func calls(file *File, imported string, visit func(call *ast.CallExpr, name string)) {
	local := localName(file, imported)
	if local == "" {
		return
	}
	ast.Inspect(file.Syntax, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if ident, ok := selector.X.(*ast.Ident); ok && ident.Name == local && ident.Obj == nil {
			visit(call, selector.Sel.Name)
		}
		return true
	})
}

// localName is what the file calls an imported standard package, or empty.
func localName(file *File, imported string) string {
	for _, spec := range file.Syntax.Imports {
		if strings.Trim(spec.Path.Value, "`\"") != imported {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return imported[strings.LastIndex(imported, "/")+1:]
	}
	return ""
}

// impure are the packages that a plan may not import: they read or write the world.
var impure = [...]string{
	"context", "os", "net", "io/fs", "syscall", "math/rand", "crypto/rand", "log", "sync",
	"sigs.k8s.io/controller-runtime", "k8s.io/client-go", "github.com/nats-io",
}

// clock are the functions of package time that read the clock or wait.
var clock = [...]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// plansArePure: values in, values out. All reads happen in gather, all writes in apply. What has to be so is in packages of its own: the
// planner, the law of scaling, and package decide of each controller.
func plansArePure(tree *Tree) []Violation {
	var found []Violation
	for _, pkg := range tree.Packages {
		if !isPlan(pkg.Dir) {
			continue
		}
		for _, file := range pkg.Files {
			if !file.Test {
				found = append(found, impurities(file)...)
			}
		}
	}
	return found
}

func isPlan(dir string) bool {
	return within(dir, "controllers/plan", "controllers/internal/scaling") || within(dir, "controllers") && path.Base(dir) == "decide"
}

func impurities(file *File) []Violation {
	var found []Violation
	for _, imp := range file.Imports {
		// Apply configurations are values, although they live in client-go.
		if within(imp.Path, impure[:]...) && !within(imp.Path, "k8s.io/client-go/applyconfigurations") {
			message := fmt.Sprintf("a plan is pure, but here imports %s; read in gather, write in apply", imp.Path)
			found = append(found, Violation{Path: file.Path, Line: imp.Line, Message: message})
		}
	}
	calls(file, "time", func(call *ast.CallExpr, name string) {
		for _, forbidden := range clock {
			if name == forbidden {
				message := fmt.Sprintf("a plan has no clock, but here time.%s; take the time as a value", name)
				found = append(found, Violation{Path: file.Path, Line: file.line(call), Message: message})
			}
		}
	})
	return found
}

// noInit: nothing happens by being imported.
func noInit(tree *Tree) []Violation {
	return each(tree, func(_ *Package, file *File) []Violation {
		if file.Generated {
			return nil
		}
		var found []Violation
		for _, decl := range file.Syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				message := "no func init(): pass it as a value, or list it where it is used"
				found = append(found, Violation{Path: file.Path, Line: file.line(fn), Message: message})
			}
		}
		return found
	})
}

// noMadeUpContext: a context comes from the caller, so that a drain or a deadline reaches everyone.
func noMadeUpContext(tree *Tree) []Violation {
	return each(tree, func(_ *Package, file *File) []Violation {
		if file.Test || file.Generated || file.Syntax.Name.Name == "main" {
			return nil
		}
		var found []Violation
		calls(file, "context", func(call *ast.CallExpr, name string) {
			if name == "Background" || name == "TODO" {
				message := fmt.Sprintf("context.%s() belongs to main and tests; take the caller's, or context.WithoutCancel of it", name)
				found = append(found, Violation{Path: file.Path, Line: file.line(call), Message: message})
			}
		})
		return found
	})
}

// readsClock are the calls that make a result depend on when it is computed. Passing time.Now on as
// a value is how a clock is injected, so only calls count; timers may be real, since tests run them
// in testing/synctest.
var readsClock = [...]string{"Now", "Since", "Until"}

// clockIsGiven: what a stage or a reconciler decides is the same in a replay and in a test.
func clockIsGiven(tree *Tree) []Violation {
	return each(tree, func(pkg *Package, file *File) []Violation {
		if file.Test || !(stageOf(tree, pkg.Dir) != "" || within(pkg.Dir, "controllers", "workers/event", "workers/stage", "workers/config",
			"workers/engine/chain", "workers/engine/progress", "workers/engine/backoff", "workers/engine/overflow")) {
			return nil
		}
		var found []Violation
		calls(file, "time", func(call *ast.CallExpr, name string) {
			for _, forbidden := range readsClock {
				if name == forbidden {
					message := fmt.Sprintf("reads the clock by time.%s(); take a func() time.Time and call that", name)
					found = append(found, Violation{Path: file.Path, Line: file.line(call), Message: message})
				}
			}
		})
		return found
	})
}

// docGo: every package says in one known place what it is for.
func docGo(tree *Tree) []Violation {
	var found []Violation
	for _, pkg := range tree.Packages {
		if message := undocumented(pkg); message != "" {
			found = append(found, Violation{Path: pkg.Dir, Message: message})
		}
	}
	return found
}

func undocumented(pkg *Package) string {
	generated, program, commented := true, false, false
	for _, file := range pkg.Files {
		generated = generated && file.Generated
		program = program || file.Syntax.Name.Name == "main"
		commented = commented || file.Syntax.Doc != nil
	}
	switch {
	case generated:
		return ""
	case program && commented:
		return ""
	case program:
		return "a program says in a comment above its package clause what it does"
	}
	doc := pkg.file("doc.go")
	if doc == nil {
		return "every package has a doc.go that a newcomer can read alone"
	}
	if doc.Syntax.Doc == nil || !strings.HasPrefix(doc.Syntax.Doc.Text(), "Package "+doc.Syntax.Name.Name+" ") {
		return fmt.Sprintf("doc.go starts with \"// Package %s ...\"", doc.Syntax.Name.Name)
	}
	return ""
}

// namesFromTheField: a package is named for what it provides.
func namesFromTheField(tree *Tree) []Violation {
	return each(tree, func(_ *Package, file *File) []Violation {
		name := strings.TrimSuffix(file.Syntax.Name.Name, "_test")
		for _, empty := range []string{"util", "utils", "helper", "helpers", "manager", "common", "misc", "shared", "base"} {
			if name == empty {
				message := fmt.Sprintf("package %s says nothing; name it for what it provides", name)
				return []Violation{{Path: file.Path, Line: file.line(file.Syntax.Name), Message: message}}
			}
		}
		return nil
	})
}

// each collects what check objects to in every file.
func each(tree *Tree, check func(*Package, *File) []Violation) []Violation {
	var found []Violation
	for _, pkg := range tree.Packages {
		for _, file := range pkg.Files {
			found = append(found, check(pkg, file)...)
		}
	}
	return found
}
