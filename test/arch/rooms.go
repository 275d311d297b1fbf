package arch

import (
	"fmt"
	"slices"
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
	{"workers/engine/overflow", nil, false},
	{"workers/engine/progress", nil, false},
	{"workers/engine/chain", []string{
		"api/event/v1", "workers/config", "workers/event", "workers/stage", "workers/engine/progress", "workers/engine/backoff",
		"workers/engine/overflow",
	}, false},
	{"workers/engine/stats", []string{"workers/config", "workers/engine/chain"}, false},
	{"workers/engine/spans", []string{"workers/config", "workers/event", "workers/engine/chain", "workers/engine/track"}, false},
	{"workers/engine/lane", []string{
		"api/event/v1", "workers/config", "workers/event", "workers/stage", "workers/lease", "workers/engine/progress", "workers/engine/backoff",
		"workers/engine/chain", "workers/engine/stored", "workers/engine/snapshot", "workers/engine/source", "workers/engine/track",
		"workers/engine/target", "workers/engine/stats", "workers/engine/spans", "workers/engine/overflow",
	}, true},
	{"workers/engine/requests", []string{"workers/stage"}, true},
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

// eventRooms are workers/event and the packages below it, with what of the project each may import: exactly these.
var eventRooms = map[string][]string{
	"workers/event/internal/wire":  nil,
	"workers/event/internal/arena": nil,
	"workers/event/jsontext":       {"workers/event/internal/wire"},
	"workers/event":                {"api/event/v1", "workers/event/internal/wire", "workers/event/internal/arena"},
	"workers/event/cloudevent": {
		"api/event/v1", "workers/event", "workers/event/jsontext", "workers/event/internal/wire", "workers/event/internal/arena",
	},
	"workers/event/frame": {"workers/event", "workers/event/internal/wire", "workers/event/internal/arena"},
	"workers/event/decode": {
		"workers/event", "workers/event/cloudevent", "workers/event/frame", "workers/event/jsontext", "workers/event/internal/wire",
		"workers/event/internal/arena",
	},
}

// eventsApart: an event knows none of the forms that it comes in, and the forms do not know each other.
func eventsApart(tree *Tree) []Violation {
	return imports(tree, func(pkg *Package, file *File, imp Import) string {
		if file.Test || !within(pkg.Dir, "workers/event") || imp.Dir == "" {
			return ""
		}
		allowed, ok := eventRooms[pkg.Dir]
		switch {
		case !ok:
			return fmt.Sprintf("%s is not among the rooms of events: say in test/arch/rooms.go what it may import", pkg.Dir)
		case slices.Contains(allowed, imp.Dir):
			return ""
		case len(allowed) == 0:
			return fmt.Sprintf("%s imports nothing of the project, but here %s", pkg.Dir, imp.Dir)
		}
		return fmt.Sprintf("%s imports %s of the project, but here %s", pkg.Dir, strings.Join(allowed, ", "), imp.Dir)
	})
}

// collection is what workers/collect is built from: of the project it imports these.
var collection = [...]string{"api/event/v1", "workers/config", "workers/event"}

// collectorsApart: what collectors share knows none of them, and a collector knows no other one.
func collectorsApart(tree *Tree) []Violation {
	const shared = "workers/collect"
	return imports(tree, func(pkg *Package, file *File, imp Import) string {
		own, ok := strings.CutPrefix(pkg.Dir, shared)
		if file.Test || !ok || imp.Dir == "" {
			return ""
		}
		if own == "" {
			if within(imp.Dir, collection[:]...) {
				return ""
			}
			return fmt.Sprintf("%s imports %s of the project, but here %s", shared, strings.Join(collection[:], ", "), imp.Dir)
		}
		own, _, _ = strings.Cut(strings.TrimPrefix(own, "/"), "/")
		if other, ok := strings.CutPrefix(imp.Dir, shared+"/"); ok && !within(other, own) {
			return fmt.Sprintf("collector %s imports collector %s; put what they share into %s", own, other, shared)
		}
		return ""
	})
}
