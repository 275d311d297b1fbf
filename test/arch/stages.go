package arch

import (
	"fmt"
	"strings"

	"millrace.dev/millrace/workers/config"
)

// infrastructure is what stages are built from; a stage imports these of the project and itself.
var infrastructure = [...]string{"api/event/v1", "workers/cel", "workers/config", "workers/event", "workers/stage"}

// kinds are the stages that exist; each has its folder below workers.
func kinds() []string {
	var names []string
	for _, k := range config.Kinds() {
		names = append(names, string(k.Kind))
	}
	return names
}

// stageOf is the folder of the stage that dir belongs to, or empty. A folder directly below
// workers is a stage when it is named by a kind or has a factory.go.
func stageOf(tree *Tree, dir string) string {
	rest, ok := strings.CutPrefix(dir, "workers/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	for _, kind := range kinds() {
		if name == kind {
			return "workers/" + name
		}
	}
	for _, pkg := range tree.Packages {
		if pkg.Dir == "workers/"+name && pkg.file("factory.go") != nil {
			return pkg.Dir
		}
	}
	return ""
}

// stagesApart: a stage can be read, tested, moved and deleted alone.
func stagesApart(tree *Tree) []Violation {
	return imports(tree, func(pkg *Package, file *File, imp Import) string {
		stage := stageOf(tree, pkg.Dir)
		if stage == "" || imp.Dir == "" || within(imp.Dir, stage) {
			return ""
		}
		if other := stageOf(tree, imp.Dir); other != "" {
			return fmt.Sprintf("stage %s imports stage %s; put what they share below workers/event or workers/stage", stage, other)
		}
		if within(imp.Dir, infrastructure[:]...) || file.Test {
			return ""
		}
		return fmt.Sprintf("a stage imports %s of the project, but here %s", strings.Join(infrastructure[:], ", "), imp.Dir)
	})
}

// stageShape: whoever knows one stage finds their way in all.
func stageShape(tree *Tree) []Violation {
	var found []Violation
	for _, kind := range kinds() {
		pkg := tree.pkg("workers/" + kind)
		if pkg == nil {
			continue
		}
		for _, name := range []string{"doc.go", "config.go", "factory.go", kind + ".go"} {
			if pkg.file(name) == nil {
				message := fmt.Sprintf("a stage has doc.go, config.go, factory.go and %s.go, but %s is missing", kind, name)
				found = append(found, Violation{Path: pkg.Dir, Message: message})
			}
		}
	}
	return found
}

func (t *Tree) pkg(dir string) *Package {
	for _, pkg := range t.Packages {
		if pkg.Dir == dir {
			return pkg
		}
	}
	return nil
}

func (p *Package) file(base string) *File {
	for _, file := range p.Files {
		if file.base() == base {
			return file
		}
	}
	return nil
}
