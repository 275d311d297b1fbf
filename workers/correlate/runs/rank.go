package runs

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// opens is the score that opens an incident, in nats; ill is the least with which it goes on.
	opens, ill = 14.0, 7.0
	// overAfter is how long after the last such score an incident is over, and quiet how long after that it is closed. The same lead opens
	// it again until then.
	overAfter = int64(90 * time.Second)
	quiet     = int64(5 * time.Minute)
	// again is how often an incident that goes on is told.
	again = int64(time.Minute)
	// fade is what a score keeps from pane to pane in the ranking of an incident.
	fade = 0.92
	// below is how many calls deep the cause of what spreads is looked for.
	below = 4
	// maxCandidates are told.
	maxCandidates = 5
	// maxSuspects are kept of an incident.
	maxSuspects = 64
)

// The states of a finding.
const (
	Open    = "open"
	Updated = "updated"
	Closed  = "closed"
)

// Finding is a revision of what is known of an incident.
type Finding struct {
	ID       string
	Status   string
	Revision uint32
	// Opened, At and Last are Unix nanoseconds: when the incident began, of when the finding is, and when there was evidence last.
	Opened, At, Last int64
	// Candidates are the services that may be the root, the likeliest first. There is one at least.
	Candidates []Candidate
	// Alarm says what asked for a cause; nil = nobody did.
	Alarm *Alarm
}

// Candidate is a service that may be the root.
type Candidate struct {
	Service    *Service
	Confidence float64
	// Weight is the score, in nats; of an alarm it is from 0 to 1.
	Weight   float64
	Evidence []Evidence
}

// Evidence is one thing that speaks against a service.
type Evidence struct {
	Kind   string
	Weight float64
	Text   string
	At     int64
}

// incident is a time in which services are ill that call each other.
type incident struct {
	id         string
	opened     int64
	last       int64 // when the score was as high as ill
	over       bool
	closes     int64
	suspects   []suspect // the best first
	revision   uint32
	toldLead   *Service
	toldWeight float64
	toldAt     int64
}

// suspect is a service with the most that spoke against it.
type suspect struct {
	service  *Service
	best     float64
	evidence []Evidence
}

// rank scores the services that anything speaks against.
func (c *Core) rank() {
	for _, s := range c.suspected {
		local, rest := 0.0, 0.0
		for _, k := range [...]int{kindResource, kindOwn, kindNetwork, kindDatabase} {
			w := s.best[k].weight
			local = max(local, w)
			rest += w
		}
		local += 0.25*(rest-local) + 0.5*s.best[kindNamed].weight
		log, call := s.best[kindLog].weight, s.best[kindCall].weight
		spread := log + 0.25*call
		if log == 0 {
			spread = 0.5 * call
		}
		s.scoring = scores{local: local, spread: spread}
	}
	for _, s := range c.suspected {
		s.scoring.score = s.scoring.local + s.scoring.spread*c.fromBelow(s)
	}
	slices.SortFunc(c.suspected, func(a, b *Service) int {
		return cmp.Or(cmp.Compare(b.scoring.score, a.scoring.score), cmp.Compare(a.sequence, b.sequence))
	})
}

// fromBelow is what is left of what spreads to s, as somebody below may be ill.
func (c *Core) fromBelow(s *Service) float64 {
	if s.scoring.spread <= 0 {
		return 1
	}
	least := 1.0
	c.visit++
	s.visited = c.visit
	layer := c.layer[:0]
	layer = append(layer, s)
	for depth, from := 0, 0; depth < below && from < len(layer); depth++ {
		to := len(layer)
		for ; from < to; from++ {
			for _, l := range layer[from].out {
				d := l.to
				if d == nil || d.visited == c.visit {
					continue
				}
				d.visited = c.visit
				layer = append(layer, d)
				if d.known {
					total := d.scoring.local + d.scoring.spread
					least = min(least, 1-0.8*min(1, total/(0.5*s.scoring.spread)))
				}
			}
		}
	}
	c.layer = layer
	return least
}

// parts labels the services that are connected by calls: they share an incident.
func (c *Core) parts() {
	c.visit++
	for _, s := range c.services {
		if s.visited == c.visit {
			continue
		}
		s.visited, s.part = c.visit, s.sequence
		layer := c.layer[:0]
		layer = append(layer, s)
		for from := 0; from < len(layer); from++ {
			x := layer[from]
			for _, l := range x.out {
				layer = c.reach(layer, l.to, s.sequence)
			}
			for _, l := range x.in {
				layer = c.reach(layer, l.from, s.sequence)
			}
		}
		c.layer = layer
	}
}

func (c *Core) reach(layer []*Service, s *Service, part int64) []*Service {
	if s == nil || s.visited == c.visit {
		return layer
	}
	s.visited, s.part = c.visit, part
	return append(layer, s)
}

// review opens incidents, goes on with those that are open and ends those that are over.
func (c *Core) review() {
	if len(c.incidents) == 0 && (len(c.suspected) == 0 || c.suspected[0].scoring.score < opens) {
		return
	}
	c.parts()
	at := (c.paneNow + 1) * pane
	c.mergeIncidents(at)
	for _, s := range c.suspected {
		if s.scoring.score < opens {
			break
		}
		if c.openIncident(s.part) == nil {
			c.open(s, at)
		}
	}
	for _, i := range c.incidents {
		if !i.over {
			c.goOn(i, at)
		}
	}
	c.incidents = slices.DeleteFunc(c.incidents, func(i *incident) bool {
		if i.over && at >= i.closes {
			c.tell(i, at, Closed)
			return true
		}
		return false
	})
}

func (c *Core) openIncident(part int64) *incident {
	for _, i := range c.incidents {
		if !i.over && i.suspects[0].service.part == part {
			return i
		}
	}
	return nil
}

// open begins an incident, or goes on with one of the same lead that has just been over.
func (c *Core) open(s *Service, at int64) {
	for _, i := range c.incidents {
		if i.over && i.suspects[0].service == s {
			i.over, i.last = false, at
			return
		}
	}
	c.incidents = append(c.incidents, &incident{id: c.name(s, at, ""), opened: at, last: at, suspects: []suspect{{service: s}}})
}

// mergeIncidents ends the later of two incidents of services that turned out to be connected.
func (c *Core) mergeIncidents(at int64) {
	for n, i := range c.incidents {
		for _, j := range c.incidents[:n] {
			if !i.over && !j.over && i.suspects[0].service.part == j.suspects[0].service.part {
				i.over, i.closes = true, at
			}
		}
	}
}

// goOn takes the scores of the pane into an incident.
func (c *Core) goOn(i *incident, at int64) {
	part := i.suspects[0].service.part
	for n := range i.suspects {
		i.suspects[n].best *= fade
	}
	for _, s := range c.suspected {
		if s.part == part && s.scoring.score > 0 {
			if s.scoring.score >= ill {
				i.last = at
			}
			i.suspect(s, at)
		}
	}
	slices.SortStableFunc(i.suspects, func(a, b suspect) int {
		return cmp.Or(cmp.Compare(b.best, a.best), cmp.Compare(a.service.sequence, b.service.sequence))
	})
	i.suspects = i.suspects[:min(len(i.suspects), maxSuspects)]
	if at-i.last >= overAfter {
		i.over, i.closes = true, at+quiet
		return
	}
	lead := &i.suspects[0]
	if i.revision == 0 || lead.service != i.toldLead || lead.best >= 1.5*i.toldWeight || at == i.last && at-i.toldAt >= again {
		c.tell(i, at, Updated)
	}
}

func (i *incident) suspect(s *Service, at int64) {
	n := slices.IndexFunc(i.suspects, func(x suspect) bool { return x.service == s })
	if n < 0 {
		n = len(i.suspects)
		i.suspects = append(i.suspects, suspect{service: s})
	}
	x := &i.suspects[n]
	if s.scoring.score < x.best {
		return
	}
	x.best = s.scoring.score
	x.evidence = make([]Evidence, 0, len(s.top))
	for n := range s.top {
		e := &s.top[n]
		x.evidence = append(x.evidence, Evidence{Kind: kindNames[e.kind], Weight: e.weight, Text: e.text(), At: at})
	}
}

// tell makes the next revision. Nobody hears of the end of what nobody heard of.
func (c *Core) tell(i *incident, at int64, status string) {
	if status == Closed && i.revision == 0 {
		return
	}
	if i.revision++; i.revision == 1 {
		status = Open
	}
	f := &Finding{ID: i.id, Status: status, Revision: i.revision, Opened: i.opened, At: at, Last: i.last}
	first, second := i.suspects[0].best, 0.0
	if len(i.suspects) > 1 {
		second = i.suspects[1].best
	}
	for n := range i.suspects[:min(len(i.suspects), maxCandidates)] {
		s := &i.suspects[n]
		against := first
		if n == 0 {
			against = second
		}
		f.Candidates = append(f.Candidates, Candidate{
			Service: s.service, Weight: s.best, Evidence: slices.Clone(s.evidence),
			Confidence: confidence(s.best, against),
		})
	}
	i.toldLead, i.toldWeight, i.toldAt = i.suspects[0].service, first, at
	c.news = append(c.news, f)
}

// confidence of a service with x nats when the best of the others, or the best of all, has that many.
func confidence(x, other float64) float64 {
	if x <= 0 {
		return 0
	}
	return x / (x + other) * (1 - math.Exp(-x/15))
}
