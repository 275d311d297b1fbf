package correlate

import (
	"strings"

	"millrace.dev/millrace/workers/correlate/runs"
	"millrace.dev/millrace/workers/event"
)

// party is whom an event is of, as its entity, its related references and its resource say.
type party struct {
	// service is the workload where no service.name is given.
	service   runs.ServiceKey
	container string
}

// partyOf reads whom an event is of. Its texts are memory of the event.
func partyOf(e *event.Event) (p party) {
	e.Resources(func(key string, v event.Value) bool {
		switch key {
		case "service.name":
			p.service.Name = v.Str()
		case "k8s.namespace.name":
			p.service.Namespace = v.Str()
		case "service.namespace":
			if p.service.Namespace == "" {
				p.service.Namespace = v.Str()
			}
		case "k8s.cluster.name":
			p.service.Cluster = v.Str()
		case "k8s.container.name":
			p.container = v.Str()
		}
		return true
	})
	if e.Entity.Namespace != "" {
		p.service.Namespace = e.Entity.Namespace
	}
	if e.Entity.Cluster != "" {
		p.service.Cluster = e.Entity.Cluster
	}
	if p.service.Name != "" {
		return p
	}
	if e.Entity.Kind == "Service" {
		p.service.Name = e.Entity.Name
		return p
	}
	e.RelatedRefs(func(r event.EntityRef) bool {
		if r.Role == "workload" {
			p.service.Name = r.Name
		}
		return true
	})
	return p
}

// clone copies the texts: that of an entity is memory of the message also where the lead says it.
func (p party) clone() party {
	p.service.Cluster, p.service.Namespace, p.service.Name = strings.Clone(p.service.Cluster), strings.Clone(p.service.Namespace), strings.Clone(p.service.Name)
	p.container = strings.Clone(p.container)
	return p
}

// byPlace is under what a lead keeps a partyAt. It names no detector: whom events are of follows from their place alone, so one note serves all detectors
// and keeps none of them in memory.
type byPlace struct{}

// partyAt is the party of the events of a place. It does not change. It takes some 150 bytes, and those of its texts and of the place.
type partyAt struct {
	place event.Place
	party
}

// findParty is partyOf, which reads the events of one place once: the lead keeps the party of the last place it was part of.
func findParty(e *event.Event) party {
	place, ok := e.Place()
	if !ok {
		return partyOf(e)
	}
	at, ok := place.Lead.Memo(byPlace{}).(*partyAt)
	if !ok || at.place != place {
		at = &partyAt{place, partyOf(e).clone()}
		place.Lead.Remember(byPlace{}, at)
	}
	return at.party
}
