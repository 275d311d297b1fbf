package generator

import (
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// Truth is what a reader of the events should find.
type Truth struct {
	Seed      uint64         `json:"seed"`
	Start     time.Time      `json:"start"`
	End       time.Time      `json:"end"`
	Counts    Counts         `json:"counts"`
	Types     map[string]int `json:"types"` // valid events by type, each once
	Forms     map[string]int `json:"forms"` // the same by form
	Incidents []*Incident    `json:"incidents"`
}

// Counts are exact. Lines = Valid + Invalid + Undecodable + Duplicates.
type Counts struct {
	Lines int `json:"lines"`
	// Valid is the number of different valid events.
	Valid int `json:"valid"`
	// Invalid lacks a required attribute: id, source or type.
	Invalid int `json:"invalid"`
	// Undecodable is not JSON.
	Undecodable int `json:"undecodable"`
	// Duplicates are lines of valid events that come a second time.
	Duplicates int `json:"duplicates"`
}

// Incident is one planted chain of events.
type Incident struct {
	// Kind is one of those that the package comment lists.
	Kind    string `json:"kind"`
	Summary string `json:"summary"`
	// Root is where it began, and RootEvent the event that says so: a change, a state, the
	// first value out of range.
	Root      Entity `json:"root"`
	RootEvent string `json:"rootEvent"`
	// Workload is the workload that suffers most.
	Workload Entity   `json:"workload"`
	Affected []Entity `json:"affected,omitempty"`
	// Series are the series, <kind>/<namespace>/<name>/<metric>, whose values show it.
	Series []string `json:"series,omitempty"`
	// Start and End are the times of the first and last event.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Types are the types (with the reasons) of its events in the order of their first
	// appearance, and Events the ids of all, in the order in which they were planned.
	Types  []string `json:"types"`
	Events []string `json:"events"`
}

// Entity names a Kubernetes object.
type Entity struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

func entity(r *eventv1.EntityRef) Entity {
	return Entity{Kind: r.GetKind(), Namespace: r.GetNamespace(), Name: r.GetName(), UID: r.GetUid()}
}

// plant begins an incident; all events added until its end belong to it.
func (s *script) plant(kind, summary string, root, workload *eventv1.EntityRef, tell func(in *Incident)) {
	in := &Incident{Kind: kind, Summary: summary, Root: entity(root), Workload: entity(workload)}
	first := len(s.events)
	tell(in)
	seen := map[string]bool{}
	for _, e := range s.events[first:] {
		at := time.Unix(0, int64(e.GetTimeUnixNano())).UTC()
		if in.Start.IsZero() || at.Before(in.Start) {
			in.Start = at
		}
		if at.After(in.End) {
			in.End = at
		}
		in.Events = append(in.Events, e.GetId())
		typ := e.GetType()
		if reason := e.GetKubernetesEvent().GetReason(); reason != "" {
			typ += "/" + reason
		}
		if !seen[typ] {
			seen[typ] = true
			in.Types = append(in.Types, typ)
		}
	}
	s.planted = append(s.planted, in)
}

func (s *script) truth() Truth {
	t := Truth{
		Seed: s.o.Seed, Start: s.start, End: s.start.Add(Length), Incidents: s.planted,
		Counts: Counts{Valid: len(s.events)}, Types: map[string]int{}, Forms: map[string]int{},
	}
	for _, e := range s.events {
		t.Types[e.GetType()]++
	}
	return t
}
