package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// noPackageState: two pipelines in one process, and two tests in one run, share nothing. A
// package-level variable is a table that nobody writes: no function assigns to it, and it is no
// lock, counter or channel.
func noPackageState(tree *Tree) []Violation {
	var found []Violation
	for _, pkg := range tree.Packages {
		vars := packageVars(pkg)
		for _, file := range pkg.Files {
			if file.Generated || strings.HasSuffix(file.Syntax.Name.Name, "_test") {
				continue
			}
			if !file.Test {
				found = append(found, stateful(file)...)
			}
			// A test that swaps a variable of the package says that it is state.
			found = append(found, assignments(file, vars)...)
		}
	}
	return found
}

// packageVars are the names of the package-level variables outside tests and generated code.
func packageVars(pkg *Package) map[string]*ast.ValueSpec {
	vars := map[string]*ast.ValueSpec{}
	for _, file := range pkg.Files {
		if file.Test || file.Generated {
			continue
		}
		for _, spec := range varSpecs(file) {
			for _, name := range spec.Names {
				vars[name.Name] = spec
			}
		}
	}
	return vars
}

func varSpecs(file *File) []*ast.ValueSpec {
	var specs []*ast.ValueSpec
	for _, decl := range file.Syntax.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok || general.Tok != token.VAR {
			continue
		}
		for _, spec := range general.Specs {
			if value, ok := spec.(*ast.ValueSpec); ok {
				specs = append(specs, value)
			}
		}
	}
	return specs
}

// stateful finds variables whose type is state by itself.
func stateful(file *File) []Violation {
	var found []Violation
	for _, spec := range varSpecs(file) {
		kind := stateType(spec.Type)
		for _, value := range spec.Values {
			if kind == "" {
				kind = stateValue(value)
			}
		}
		if kind != "" {
			message := fmt.Sprintf("package-level variable %s is a %s; make it a field", spec.Names[0].Name, kind)
			found = append(found, Violation{Path: file.Path, Line: file.line(spec), Message: message})
		}
	}
	return found
}

func stateType(expr ast.Expr) string {
	switch t := expr.(type) {
	case *ast.ChanType:
		return "channel"
	case *ast.StarExpr:
		return stateType(t.X)
	case *ast.IndexExpr:
		return stateType(t.X)
	case *ast.SelectorExpr:
		pkg, ok := t.X.(*ast.Ident)
		// A sync.Pool holds nothing that anyone could rely on: it saves allocations.
		if ok && (pkg.Name == "sync" || pkg.Name == "atomic") && t.Sel.Name != "Pool" {
			return pkg.Name + "." + t.Sel.Name
		}
	}
	return ""
}

// stateValue looks at &sync.Mutex{}, make(chan T) and make(map[K]V): an empty map at package level
// is there to be filled.
func stateValue(expr ast.Expr) string {
	switch v := expr.(type) {
	case *ast.UnaryExpr:
		return stateValue(v.X)
	case *ast.CompositeLit:
		return stateType(v.Type)
	case *ast.CallExpr:
		fn, ok := v.Fun.(*ast.Ident)
		if !ok || fn.Name != "make" || len(v.Args) == 0 {
			return ""
		}
		if _, ok := v.Args[0].(*ast.MapType); ok {
			return "map to be filled"
		}
		return stateType(v.Args[0])
	}
	return ""
}

// assignments finds functions that write to a package-level variable.
func assignments(file *File, vars map[string]*ast.ValueSpec) []Violation {
	var found []Violation
	report := func(expr ast.Expr) {
		ident := target(expr)
		if ident == nil || vars[ident.Name] == nil {
			return
		}
		// An identifier that the parser resolved belongs to this file: to the variable itself,
		// or to a local one of the same name.
		if ident.Obj != nil && ident.Obj.Decl != vars[ident.Name] {
			return
		}
		message := fmt.Sprintf("assigns to the package-level variable %s; make it a field", ident.Name)
		found = append(found, Violation{Path: file.Path, Line: file.line(expr), Message: message})
	}
	ast.Inspect(file.Syntax, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				for _, left := range s.Lhs {
					report(left)
				}
			}
		case *ast.IncDecStmt:
			report(s.X)
		case *ast.CallExpr:
			if fn, ok := s.Fun.(*ast.Ident); ok && writes(fn.Name) && len(s.Args) > 0 {
				report(s.Args[0])
			}
		}
		return true
	})
	return found
}

// writes tells whether a builtin function writes to its first argument.
func writes(builtin string) bool {
	return builtin == "delete" || builtin == "clear" || builtin == "copy"
}

// target is the variable that x, x.f, x[i], *x and x[i:j] write to.
func target(expr ast.Expr) *ast.Ident {
	switch e := expr.(type) {
	case *ast.Ident:
		return e
	case *ast.SelectorExpr:
		return target(e.X)
	case *ast.IndexExpr:
		return target(e.X)
	case *ast.SliceExpr:
		return target(e.X)
	case *ast.StarExpr:
		return target(e.X)
	case *ast.ParenExpr:
		return target(e.X)
	}
	return nil
}
