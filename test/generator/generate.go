package generator

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// Length is how long the story takes.
const Length = 10 * time.Minute

// MinEvents is the least number of events that holds all incidents.
const MinEvents = 6000

// Options say what to generate.
type Options struct {
	Seed uint64
	// Events is the number of valid events, each counted once; at least MinEvents.
	Events int
	// Invalid, Undecodable and Duplicates are lines in addition to the valid events.
	Invalid, Undecodable, Duplicates int
	// End is when the story ends; it begins Length before.
	End time.Time
}

func (o Options) check() error {
	switch {
	case o.Events < MinEvents:
		return fmt.Errorf("events is %d: at least %d, which the incidents need", o.Events, MinEvents)
	case o.Invalid < 0 || o.Undecodable < 0 || o.Duplicates < 0:
		return errors.New("invalid, undecodable and duplicates are counts: none is negative")
	case o.Duplicates > o.Events:
		return fmt.Errorf("duplicates is %d: at most one for each of %d events", o.Duplicates, o.Events)
	case o.End.IsZero():
		return errors.New("end is not set")
	}
	return nil
}

// Story is what was generated.
type Story struct {
	// Lines are the events in the order of their time, one JSON object a line, without line
	// breaks.
	Lines [][]byte
	Truth Truth
	// Snapshot is the cluster as a Kubernetes List in JSON.
	Snapshot []byte
}

// Generate writes the story. It fails when the options are out of bounds.
func Generate(o Options) (*Story, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &script{
		o: o, r: rand.New(rand.NewPCG(o.Seed, 0x6d696c6c72616365)), start: o.End.Add(-Length).UTC().Truncate(time.Millisecond),
	}
	s.cluster = newCluster(s.start)
	s.incidents()
	s.metrics(o.Events * 3 / 10)
	s.plantSpike()
	s.background(o.Events)
	slices.SortStableFunc(s.events, func(a, b *eventv1.Event) int {
		return cmp.Compare(a.TimeUnixNano, b.TimeUnixNano)
	})
	story := &Story{Truth: s.truth()}
	story.Lines = s.spoil(s.encode(&story.Truth), &story.Truth)
	story.Truth.Counts.Lines = len(story.Lines)
	var err error
	story.Snapshot, err = s.cluster.snapshot()
	return story, err
}

// script is the story while it is written.
type script struct {
	o       Options
	r       *rand.Rand
	start   time.Time
	cluster *cluster
	events  []*eventv1.Event
	planted []*Incident
}

// at is a moment of the story, in seconds from its start.
func (s *script) at(seconds float64) time.Time {
	return s.start.Add(time.Duration(seconds * float64(time.Second)))
}

// anywhen is a random moment of the story.
func (s *script) anywhen() time.Time { return s.at(s.r.Float64() * Length.Seconds()) }

// add adds an event with its id, which counts up.
func (s *script) add(at time.Time, e *eventv1.Event) *eventv1.Event {
	e.Id = fmt.Sprintf("demo-%d-%06d", s.o.Seed, len(s.events)+1)
	e.TimeUnixNano = uint64(at.UnixNano())
	s.events = append(s.events, e)
	return e
}

// full tells whether there are as many events as there should be.
func (s *script) full() bool { return len(s.events) >= s.o.Events }

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// chance is true once in so many times.
func (s *script) chance(oneIn int) bool { return s.r.IntN(oneIn) == 0 }

// noise is bounded and bell-shaped: -1..1, standard deviation a third.
func (s *script) noise() float64 {
	return (s.r.Float64()+s.r.Float64()+s.r.Float64())*2/3 - 1
}
