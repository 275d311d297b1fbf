package arch

import (
	"fmt"
	"strings"
)

// imports calls visit for each import of each file, and collects what visit objects to.
func imports(tree *Tree, visit func(*Package, *File, Import) string) []Violation {
	var found []Violation
	for _, pkg := range tree.Packages {
		for _, file := range pkg.Files {
			for _, imp := range file.Imports {
				if message := visit(pkg, file, imp); message != "" {
					found = append(found, Violation{Path: file.Path, Line: imp.Line, Message: message})
				}
			}
		}
	}
	return found
}

// apiStandsAlone: the API types are what other programs import; they drag nothing in.
func apiStandsAlone(tree *Tree) []Violation {
	return imports(tree, func(pkg *Package, file *File, imp Import) string {
		if !within(pkg.Dir, "api") || imp.Dir == "" || sameAPI(pkg.Dir, imp.Dir) {
			return ""
		}
		if file.Test && within(imp.Dir, "test", "config/crd") {
			return ""
		}
		return fmt.Sprintf("api imports nothing of the project, but here %s; move the code that needs it out of api", imp.Dir)
	})
}

// sameAPI tells whether both folders belong to one version of one API, such as api/v1alpha1 and
// its generated apply configurations.
func sameAPI(dir, imported string) bool {
	for _, version := range []string{"api/v1alpha1", "api/event/v1"} {
		if within(dir, version) && within(imported, version) {
			return true
		}
	}
	return false
}

// readSide are the rooms that show people what workers have stored. They decide nothing, and read events, and where these come from, as
// workers write them.
var readSide = []string{"controllers/view", "controllers/console", "controllers/deadletter"}

// controlPlaneImports: the control plane knows the data plane by its configuration alone, and its read side by events too.
func controlPlaneImports(tree *Tree) []Violation {
	return imports(tree, func(pkg *Package, file *File, imp Import) string {
		if !within(pkg.Dir, "controllers") || imp.Dir == "" {
			return ""
		}
		if within(imp.Dir, "api", "controllers", "workers/config", "config/crd") {
			return ""
		}
		if file.Test && within(imp.Dir, "test") {
			return ""
		}
		if within(pkg.Dir, readSide...) && within(imp.Dir, "workers/event", "workers/cel", "workers/engine/progress") {
			return ""
		}
		return fmt.Sprintf("controllers import api, controllers, workers/config and config/crd alone, but here %s", imp.Dir)
	})
}

// dataPlaneImports: workers run when the operator is down, so they know nothing of it.
// workers/local is the one bridge: it plans like the operator, and shows what the operator shows.
func dataPlaneImports(tree *Tree) []Violation {
	return imports(tree, func(pkg *Package, _ *File, imp Import) string {
		if !within(pkg.Dir, "workers") {
			return ""
		}
		bridge := within(pkg.Dir, "workers/local")
		switch {
		case within(imp.Dir, "controllers"):
			if bridge && within(imp.Dir, "controllers/plan", "controllers/manifest", "controllers/view", "controllers/console", "controllers/deadletter") {
				return ""
			}
			return fmt.Sprintf("workers never import controllers, but here %s (only workers/local may import controllers/plan, controllers/manifest, and what shows pipelines)", imp.Dir)
		case within(imp.Dir, "api/v1alpha1") && !bridge:
			return "workers know their StageConfig (workers/config), never the custom resources"
		case within(imp.Dir, "workers/local") && !bridge:
			return "workers/local puts the others together; only the main program imports it"
		}
		return ""
	})
}

// productWithoutTests: what only tests and generators need stays out of the product.
func productWithoutTests(tree *Tree) []Violation {
	return imports(tree, func(pkg *Package, file *File, imp Import) string {
		if file.Test || within(pkg.Dir, "test", "hack") || !within(imp.Dir, "test", "hack") {
			return ""
		}
		return fmt.Sprintf("product code imports neither test nor hack, but here %s", imp.Dir)
	})
}

// home is a rule of the form: this library is imported in these folders (and tests) alone.
func home(tree *Tree, why string, libraries, folders []string) []Violation {
	return imports(tree, func(pkg *Package, file *File, imp Import) string {
		if file.Test || within(pkg.Dir, "test", "hack") || within(pkg.Dir, folders...) || !within(imp.Path, libraries...) {
			return ""
		}
		return fmt.Sprintf("%s is imported in %s alone: %s", imp.Path, strings.Join(folders, ", "), why)
	})
}

func clientGo(tree *Tree) []Violation {
	return home(tree, "everything else runs without Kubernetes",
		[]string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"},
		// The generated apply configurations are values, built from those of client-go.
		[]string{"controllers", "workers/enrich/kubernetes", "workers/collect/kubernetes", "api/v1alpha1/applyconfiguration"})
}

func natsGo(tree *Tree) []Violation {
	return home(tree, "a processor never sees a connection",
		[]string{"github.com/nats-io/nats.go"},
		[]string{"controllers/internal/jetstream", "workers/config/connect", "workers/engine", "workers/lease", "workers/worker", "workers/local", "workers/collect", "workers/sink/nats"})
}

func jsmGo(tree *Tree) []Violation {
	return home(tree, "one place makes, repairs and deletes streams and consumers",
		[]string{"github.com/nats-io/jsm.go"},
		[]string{"controllers/internal/jetstream"})
}

func embeddedServer(tree *Tree) []Violation {
	return home(tree, "only `millrace run` brings its own server",
		[]string{"github.com/nats-io/nats-server"},
		[]string{"workers/local"})
}
