package runs

import (
	"cmp"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// ServiceKey names a service. Namespace and Cluster may be empty.
type ServiceKey struct{ Cluster, Namespace, Name string }

// Service is who handles requests.
type Service struct {
	ServiceKey
	// Entity is what a person has to look at: the workload. The caller of Core.Service sets it when it is empty.
	Entity Entity

	sequence int64
	seen     int64      // event time
	call     *statement // "calls this service"
	out, in  []*link
	routes   []*route

	// Of the last evaluation.
	best          [kinds]evidence
	top           []evidence
	known         bool // best and top are of this evaluation
	scoring       scores
	visited, part int64
	lossAt        int64
	loses         bool
}

// Entity is a reference to an object.
type Entity struct{ Kind, Namespace, Name, UID, APIVersion, Cluster string }

func (k ServiceKey) clone() ServiceKey {
	return ServiceKey{strings.Clone(k.Cluster), strings.Clone(k.Namespace), strings.Clone(k.Name)}
}

// maxName bounds a name that is kept, in bytes: those of Kubernetes have 253.
const maxName = 256

// cut shortens a name.
func cut(s string) string {
	if len(s) <= maxName {
		return s
	}
	return strings.ToValidUTF8(s[:maxName], "")
}

// Service finds a service by its key. nil = there is no room, or no name.
func (c *Core) Service(key ServiceKey) *Service {
	key.Cluster, key.Namespace, key.Name = cut(key.Cluster), cut(key.Namespace), cut(key.Name)
	if s, ok := c.byKey[key]; ok {
		s.seen = c.latest
		return s
	}
	if key.Name == "" {
		return nil
	}
	if len(c.services) >= c.limits.Services {
		c.counts.Services++
		return nil
	}
	c.sequence++
	s := &Service{ServiceKey: key.clone(), sequence: c.sequence, seen: c.latest}
	s.call = &statement{sequence: c.sequence, hash: xxh3.HashString("call\x00" + key.Cluster + "\x00" + key.Namespace + "\x00" + key.Name), text: ">" + s.Name, kind: saysCall}
	c.services = append(c.services, s)
	c.byKey[s.ServiceKey] = s
	if c.byName[s.Name] == nil {
		c.byName[s.Name] = s
	}
	return s
}

// peer finds a service that another one names.
func (c *Core) peer(by *Service, name string) *Service {
	name = cut(name)
	if s, ok := c.byKey[ServiceKey{by.Cluster, by.Namespace, name}]; ok {
		s.seen = c.latest
		return s
	}
	if s, ok := c.byName[name]; ok && (s.Cluster == by.Cluster || s.Cluster == "" || by.Cluster == "") {
		s.seen = c.latest
		return s
	}
	return c.Service(ServiceKey{by.Cluster, by.Namespace, name})
}

// statement is what a run may say: a log line without what changes in it, a call, or that it names another service.
type statement struct {
	sequence int64
	hash     uint64
	text     string
	kind     says
	warns    bool // it is a warning or worse
	named    *Service
	seen     int64
	again    *statement // that it comes twice in a run; nil = it never did
}

type says uint8

const (
	saysLog says = iota
	saysCall
	saysName
)

// routeKey names a route of a service.
type routeKey struct {
	service *Service
	name    string
}

type linkKey struct {
	from, to *Service
	database string
}

// link is from who calls to who is called; to is nil where that is a database.
type link struct {
	sequence int64
	from, to *Service
	database string
	seen     int64

	gap    [window]latency
	high   [window]float64
	norm   latencyNorm
	held   int
	active bool

	// Of the last evaluation.
	evidence, calls, slow, usually float64
}

func (c *Core) route(s *Service, name string) *route {
	name = cut(name)
	if r, ok := c.byRoute[routeKey{s, name}]; ok {
		return r
	}
	if len(c.routes) >= c.limits.Routes {
		c.evictRoutes()
	}
	c.sequence++
	r := &route{sequence: c.sequence, service: s, name: strings.Clone(name), seen: c.latest, at: map[uint64]uint8{}}
	c.routes = append(c.routes, r)
	c.byRoute[routeKey{s, r.name}] = r
	s.routes = append(s.routes, r)
	r.rotate(c.epoch)
	return r
}

func (c *Core) link(from, to *Service, database string) *link {
	key := linkKey{from, to, database}
	l, ok := c.byLink[key]
	if !ok {
		if len(c.links) >= c.limits.Links {
			c.evictLinks()
		}
		c.sequence++
		key.database = strings.Clone(database)
		l = &link{sequence: c.sequence, from: from, to: to, database: key.database}
		l.norm.rotate(c.epoch)
		c.links = append(c.links, l)
		c.byLink[key] = l
		from.out = append(from.out, l)
		if to != nil {
			to.in = append(to.in, l)
		}
	}
	l.seen = c.latest
	return l
}

// evictRoutes drops n of the routes that were not seen for longest, one at least.
func (c *Core) evictRoutes() {
	for _, r := range oldest(c.routes, func(r *route) (seen, sequence int64) { return r.seen, r.sequence }) {
		r.gone = true
		c.counts.Routes++
	}
	c.dropRoutes()
}

func (c *Core) dropRoutes() {
	c.routes = slices.DeleteFunc(c.routes, func(r *route) bool {
		if r.gone {
			delete(c.byRoute, routeKey{r.service, r.name})
			r.service.routes = slices.DeleteFunc(r.service.routes, func(x *route) bool { return x == r })
		}
		return r.gone
	})
}

func (c *Core) evictLinks() {
	gone := map[*link]bool{}
	for _, l := range oldest(c.links, func(l *link) (seen, sequence int64) { return l.seen, l.sequence }) {
		gone[l] = true
		c.counts.Links++
	}
	c.dropLinks(func(l *link) bool { return gone[l] })
}

func (c *Core) dropLinks(gone func(*link) bool) {
	c.links = slices.DeleteFunc(c.links, func(l *link) bool {
		if !gone(l) {
			return false
		}
		is := func(x *link) bool { return x == l }
		delete(c.byLink, linkKey{l.from, l.to, l.database})
		l.from.out = slices.DeleteFunc(l.from.out, is)
		if l.to != nil {
			l.to.in = slices.DeleteFunc(l.to.in, is)
		}
		return true
	})
}

// sweep drops what was not seen for as long as norms reach. It is called once for each bucket.
func (c *Core) sweep() {
	before := c.now - forgotten
	for _, r := range c.routes {
		r.gone = r.seen < before
	}
	c.dropRoutes()
	c.dropLinks(func(l *link) bool { return l.seen < before })
	c.gauges = slices.DeleteFunc(c.gauges, func(g *gauge) bool {
		if g.seen < before {
			delete(c.byGauge, g.gaugeKey)
			return true
		}
		return false
	})
	c.dropTexts(func(s *statement) bool { return s.seen < before })
	c.series = slices.DeleteFunc(c.series, func(x *series) bool {
		if x.seen < c.now-seriesLive {
			delete(c.bySeries, x.seriesKey)
			return true
		}
		return false
	})
	c.sweepServices(before)
}

// sweepServices drops the services that nothing refers to.
func (c *Core) sweepServices(before int64) {
	used := map[*Service]bool{}
	for _, r := range c.routes {
		used[r.service] = true
		for i := range r.said {
			used[r.said[i].named] = true
		}
	}
	for _, l := range c.links {
		used[l.from], used[l.to] = true, true
	}
	for _, g := range c.gauges {
		used[g.service] = true
	}
	for _, s := range c.series {
		used[s.service] = true
	}
	for _, t := range c.texts {
		used[t.named] = true
	}
	for _, i := range c.incidents {
		for _, s := range i.suspects {
			used[s.service] = true
		}
	}
	for _, a := range c.alarms {
		used[a.Service] = true
		for i := range a.result {
			used[a.result[i].Service] = true
		}
	}
	dropped := false
	c.services = slices.DeleteFunc(c.services, func(s *Service) bool {
		if s.seen >= before || used[s] {
			return false
		}
		delete(c.byKey, s.ServiceKey)
		dropped = true
		return true
	})
	if !dropped {
		return
	}
	clear(c.byName)
	for _, s := range c.services {
		if c.byName[s.Name] == nil {
			c.byName[s.Name] = s
		}
	}
}

// text finds a statement by its hash, or makes it.
func (c *Core) text(hash uint64, make func() statement) *statement {
	s, ok := c.byHash[hash]
	if !ok {
		if len(c.texts) >= c.limits.Texts {
			c.evictTexts()
		}
		made := make()
		c.sequence++
		made.sequence, made.hash = c.sequence, hash
		s = &made
		c.texts = append(c.texts, s)
		c.byHash[hash] = s
	}
	s.seen = c.latest
	return s
}

func (c *Core) evictTexts() {
	gone := map[*statement]bool{}
	for _, s := range oldest(c.texts, func(s *statement) (seen, sequence int64) { return s.seen, s.sequence }) {
		gone[s] = true
		c.counts.Texts++
	}
	c.dropTexts(func(s *statement) bool { return gone[s] })
}

func (c *Core) dropTexts(gone func(*statement) bool) {
	c.texts = slices.DeleteFunc(c.texts, func(s *statement) bool {
		if gone(s) {
			delete(c.byHash, s.hash)
			return true
		}
		return false
	})
}

// oldest are the sixteenth of some that was seen least recently, at least one; of equal ones those that came first.
func oldest[T any](all []T, age func(T) (seen, sequence int64)) []T {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b T) int {
		seenA, sequenceA := age(a)
		seenB, sequenceB := age(b)
		return cmp.Or(cmp.Compare(seenA, seenB), cmp.Compare(sequenceA, sequenceB))
	})
	return sorted[:max(1, len(sorted)/16)]
}
