package compare

import (
	"fmt"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/store"
	"github.com/zeebo/xxh3"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/stage/state"
)

// stateVersion is raised when the state, or what it means, changes: counts are then rebuilt from the input. insightVersion is that of the sums in an insight; an
// experiment whose insight has another one begins anew.
const (
	stateVersion   = 2
	insightVersion = 1
)

// Snapshot appends all that is counted.
func (c *comparer) Snapshot(b []byte) ([]byte, error) { return state.Write(b, c.kept, c.state) }

// Restore goes on where a snapshot was taken.
func (c *comparer) Restore(b []byte) error {
	if err := state.Read(b, c.kept, c.state); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	return nil
}

func (c *comparer) state(sc *state.Codec) {
	k := codec{sc}
	k.span(c, &c.now)
	state.Slice(sc, &c.recent, func(s *span) { k.span(c, s) })
	k.sums(c.before)
	k.course(&c.course, len(c.variants))
	state.LRU(sc, c.pending, maxPending, func(id *xxh3.Uint128, a **answers) {
		sc.Fixed64(&id.Hi)
		sc.Fixed64(&id.Lo)
		if sc.Reading() {
			*a = &answers{}
		}
		k.answers(*a)
	})
	state.Slice(sc, &c.closing, func(e **eventv1.Event) {
		state.Message(sc, e)
		sc.Check(*e != nil, "no event")
	})
	state.Int(sc, &c.closeAfter)
}

type codec struct{ *state.Codec }

func (k codec) span(c *comparer, s *span) {
	state.Int(k.Codec, &s.number)
	if k.Reading() {
		s.sums = newSums(len(c.variants), c.mirror)
	}
	k.sums(s.sums)
}

func (k codec) sums(s *sums) {
	for i := range s.variants {
		v := &s.variants[i]
		k.groups(&v.events)
		k.groups(&v.outcomes)
		k.sketch(&v.latency)
		k.sketch(&v.score)
	}
	for i := range s.pairs {
		p := &s.pairs[i]
		for _, n := range [...]*int64{&p.both, &p.neither, &p.onlyControl, &p.onlyCandidate} {
			state.Int(k.Codec, n)
		}
		k.groups(&p.events)
		k.groups(&p.more)
	}
	state.Int(k.Codec, &s.unmatched)
}

func (k codec) groups(of *[groups]int64) {
	for i := range of {
		state.Int(k.Codec, &of[i])
	}
}

func (k codec) sketch(s *sketch) {
	var text []byte
	if !k.Reading() && s.dd != nil {
		s.dd.Encode(&text, true)
	}
	b := string(text)
	k.String(&b)
	if !k.Reading() || b == "" {
		return
	}
	s.make()
	dd, err := ddsketch.DecodeDDSketch([]byte(b), bins, s.dd.IndexMapping)
	if err != nil {
		k.Fail("%v", err)
		return
	}
	s.dd = dd
}

func bins() store.Store { return store.NewCollapsingLowestDenseStore(sketchBins) }

func (k codec) course(c *course, variants int) {
	k.String(&c.id)
	for _, n := range [...]*int64{&c.since, &c.until, &c.seen} {
		state.Int(k.Codec, n)
	}
	state.Int(k.Codec, &c.revision)
	state.Slice(k.Codec, &c.least, k.Float64)
	state.Slice(k.Codec, &c.more, k.Bool)
	state.Slice(k.Codec, &c.significant, k.Bool)
	if k.Check(len(c.least) == variants && len(c.more) == variants && len(c.significant) == variants, "as many variants"); !k.OK() {
		*c = course{}
	}
}

func (k codec) answers(a *answers) {
	k.Fixed64(&a.said)
	k.Fixed64(&a.outcome)
	state.Int(k.Codec, &a.at)
	state.Int(k.Codec, &a.group)
	k.Check(a.group >= 0 && a.group < groups, "a group")
}
