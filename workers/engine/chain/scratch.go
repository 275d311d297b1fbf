package chain

import (
	"cmp"
	"math"
	"slices"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// scratch is the memory of one node in one lane.
type scratch struct {
	batch     stage.Batch
	now       time.Time // of the events
	partition int       // of their message
	newest    int64     // of their message (cursor)
	late      int64     // events that came too late
	decisions []stage.Decision
	tried     []int // attempts, where there was more than one
	made      []event.Event
	copies    copies // where no memory has them (Chain.copies)
	picked    []event.Event
	produced  []product
	reread    reread
}

// product is a new event that a stage made.
type product struct {
	parent int    // of the events of the message, or behindAll
	number uint32 // of the products of the message
	port   stage.Ports
	event  *eventv1.Event
	// encoded is the event where event is nil.
	encoded []byte
	// reason and err are those of a dead letter; empty = it is none.
	reason string
	err    error
}

// behindAll is the parent of what a stage makes of no single event.
const behindAll = math.MaxInt

// places say which events of a message a batch has: those from first on, or from first on in a list of them.
type places struct {
	first int
	list  []int
}

func (p places) from(i int) places { return places{p.first + i, p.list} }

func (p places) of(i int) int {
	if p.list != nil {
		return p.list[p.first+i]
	}
	return p.first + i
}

// keep keeps what the stage made of a batch, but of events that it wants to have again.
func (sr *scratch) keep(b *stage.Batch, at places) {
	for _, m := range b.Produced() {
		p := product{parent: behindAll, number: uint32(len(sr.produced)), port: m.Port, event: m.Event, encoded: m.Encoded, reason: m.Reason, err: m.Err}
		if m.Parent >= 0 && m.Parent < len(b.Events) {
			if b.Decision(m.Parent).Verdict == stage.Retry {
				continue
			}
			p.parent = at.of(m.Parent)
		}
		sr.produced = append(sr.produced, p)
	}
}

// products are what the stage made, in the order of their parents.
func (sr *scratch) products() []product {
	slices.SortStableFunc(sr.produced, func(a, b product) int { return cmp.Compare(a.parent, b.parent) })
	return sr.produced
}

func (sr *scratch) attempts(i int) int {
	if i < len(sr.tried) {
		return max(sr.tried[i], 1)
	}
	return 1
}
