package arch

import (
	"fmt"
	"strings"
)

// room is a package below workers/engine: what of the project it may import, and whether it may have a connection.
type room struct {
	dir     string
	imports []string
	nats    bool
}

// rooms are the packages of the engine. Package lane puts them together, and workers/engine itself makes lanes.
var rooms = [...]room{
	{"workers/engine/backoff", nil, false},
	{"workers/engine/progress", nil, false},
	{"workers/engine/chain", []string{
		"api/event/v1", "workers/config", "workers/event", "workers/stage", "workers/engine/progress", "workers/engine/backoff",
	}, false},
	{"workers/engine/stats", []string{"workers/config", "workers/engine/chain"}, false},
	{"workers/engine/spans", []string{"workers/config", "workers/event", "workers/engine/chain", "workers/engine/track"}, false},
	{"workers/engine/lane", []string{
		"api/event/v1", "workers/config", "workers/event", "workers/stage", "workers/lease", "workers/engine/progress", "workers/engine/backoff",
		"workers/engine/chain", "workers/engine/stored", "workers/engine/snapshot", "workers/engine/source", "workers/engine/track",
		"workers/engine/target", "workers/engine/stats", "workers/engine/spans",
	}, true},
	{"workers/engine/stored", []string{"workers/config"}, true},
	{"workers/engine/snapshot", []string{"workers/config", "workers/engine/progress", "workers/engine/stored"}, true},
	{"workers/engine/source", []string{"workers/config", "workers/engine/backoff", "workers/engine/stored"}, true},
	{"workers/engine/target", []string{"workers/stage", "workers/engine/progress", "workers/engine/backoff"}, false},
	{"workers/engine/track", []string{"workers/config", "workers/engine/progress", "workers/engine/backoff", "workers/engine/stored"}, true},
}

// engineRooms: what reads, what decides and what writes know nothing of each other.
func engineRooms(tree *Tree) []Violation {
	return imports(tree, func(pkg *Package, file *File, imp Import) string {
		if file.Test || !strings.HasPrefix(pkg.Dir, "workers/engine/") {
			return ""
		}
		for _, r := range rooms {
			if pkg.Dir != r.dir {
				continue
			}
			switch {
			case !r.nats && within(imp.Path, "github.com/nats-io", "net"):
				return fmt.Sprintf("%s has no connection, but here imports %s", r.dir, imp.Path)
			case imp.Dir == "" || within(imp.Dir, r.imports...):
				return ""
			case len(r.imports) == 0:
				return fmt.Sprintf("%s imports nothing of the project, but here %s", r.dir, imp.Dir)
			}
			return fmt.Sprintf("%s imports %s of the project, but here %s", r.dir, strings.Join(r.imports, ", "), imp.Dir)
		}
		return fmt.Sprintf("%s is not among the rooms of the engine: say in test/arch/rooms.go what it may import", pkg.Dir)
	})
}
