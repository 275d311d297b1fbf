package progress

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"
)

var (
	histories = flag.Int("histories", 2000, "random histories of the model")
	first     = flag.Uint64("seed", 1, "the seed of the first one")
)

// The model is a lane without NATS and without a clock: streams are slices, and whatever may go wrong between a worker
// and the server is drawn by lot. It decides about items by the same code as the engine (Doubt).
//
// The lane has the stage 0, and in half of the histories the stage 1, which is chained to it.

// modelEvent is one event of the input.
type modelEvent struct {
	id   string
	key  int
	kind int // what stages do with it: see the constants
}

// What stages do with events of a kind.
const (
	goes  = iota // on, or to the dead letters
	may          // the same, or it is left out
	makes        // a new one is made of it, and it is left out
	kinds        // how many there are
)

// mostTries is how many workers of a history may die.
const mostTries = 40

// modelOutput is one stored message.
type modelOutput struct {
	seq, owner uint64
	reach      []Position
	header     string // Output, encoded
	ids        []string
}

// modelTrack is a subject and what is stored on it.
type modelTrack struct {
	node int
	dead bool
	part int // partition of the port out
	all  []modelOutput
}

func (t *modelTrack) last() *modelOutput {
	if len(t.all) == 0 {
		return &modelOutput{}
	}
	return &t.all[len(t.all)-1]
}

// faults are mends that are taken out, to show that the model finds what they are for.
type faults struct {
	position   bool // trust positions: an output that reaches behind an item holds it (B1)
	together   bool // batches across the border of the step in doubt (B7)
	forgets    bool // a second kill: what the first worker stored of the step is not read back
	reachIsAll bool // an output is known again by how far it reaches
}

type world struct {
	r          *rand.Rand
	faults     faults
	inputs     [][][]modelEvent // by input: messages of events
	places     []Place
	tracks     []*modelTrack
	floor      []uint64 // acknowledged
	floors     [][]uint64
	chained    bool
	storesOut  bool // the port out of stage 0 has subjects, too
	repeatable bool // stages decide alike at each try
	owner      uint64
	verdicts   map[string]map[string]bool // of stage and id: what was ever decided
	story      []string
	script     func(owner uint64, node int, e modelEvent) string // what is decided; nil = it is drawn
}

func newWorld(seed uint64, f faults) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 7)), faults: f, verdicts: map[string]map[string]bool{}}
	w.chained, w.repeatable = w.r.IntN(2) == 0, w.r.IntN(4) == 0
	w.storesOut = !w.chained || w.r.IntN(2) == 0
	for i := range 1 + w.r.IntN(2) {
		var messages [][]modelEvent
		for m := range 1 + w.r.IntN(8) {
			var events []modelEvent
			for e := range 1 + w.r.IntN(3) {
				events = append(events, modelEvent{fmt.Sprintf("%c%d.%d", 'a'+i, m, e), w.r.IntN(2), w.r.IntN(kinds)})
			}
			messages = append(messages, events)
		}
		w.inputs = append(w.inputs, messages)
		w.places = append(w.places, Place{fmt.Sprint("in", i), "x"})
	}
	w.floor = make([]uint64, len(w.inputs))
	for node := range 2 {
		if node == 1 && !w.chained {
			break
		}
		if node == 1 || w.storesOut {
			w.tracks = append(w.tracks, &modelTrack{node: node}, &modelTrack{node: node, part: 1})
		}
		w.tracks = append(w.tracks, &modelTrack{node: node, dead: true})
	}
	return w
}

func (w *world) say(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf(format, args...))
}

// session is a worker from a takeover to its death.
type session struct {
	*world
	owner  uint64
	doubt  *Doubt
	last   []uint64
	tracks []*sessionTrack
	number uint64
	next   []uint64 // messages to take, by input
}

type sessionTrack struct {
	*modelTrack
	number  int
	fence   uint64
	since   uint64
	inDoubt bool
	packed  []Position
	queue   []*pending // of the step
}

type pending struct {
	modelOutput
	items Items
}

// takeOver is what lane.tryTakeOver and lane.learnDoubt do.
func (w *world) takeOver() *session {
	w.owner++
	s := &session{world: w, owner: w.owner, last: make([]uint64, len(w.inputs)), next: make([]uint64, len(w.inputs))}
	var written []Written
	for i, t := range w.tracks {
		last := t.last()
		st := &sessionTrack{modelTrack: t, number: i, fence: last.seq, packed: make([]Position, len(w.inputs))}
		s.tracks = append(s.tracks, st)
		if last.seq == 0 {
			continue
		}
		copy(st.packed, last.reach)
		o := ParseOutput(last.header, w.places)
		st.since = o.Since
		written = append(written, Written{Node: t.node, Track: i, Reach: slices.Clone(last.reach), Done: o.Done})
		for in, p := range last.reach {
			if p.Seq <= w.floor[in] {
				s.last[in] = max(s.last[in], p.Seq)
			}
		}
	}
	done := Done(len(w.inputs), written)
	for k := range written {
		if wr := &written[k]; wr.InDoubt(done) {
			st := s.tracks[wr.Track]
			st.inDoubt = true
			for _, o := range st.all {
				if o.seq > st.since {
					wr.Items = append(wr.Items, ParseOutput(o.header, w.places).Items)
				}
			}
		}
	}
	s.doubt = NewDoubt(len(w.inputs), []int{-1, 0}, written)
	for in, f := range w.floor {
		s.next[in] = f + 1
	}
	w.say("worker %d takes over at %v", s.owner, w.floor)
	return s
}

// verdict draws what stage node decides about an event: "out", "dead" or "none".
func (s *session) verdict(node int, e modelEvent) string {
	if s.script != nil {
		return s.script(s.owner, node, e)
	}
	n := s.r.IntN(100)
	if s.repeatable {
		n = int(xxh3.HashString(fmt.Sprint(node, e.id)) % 100)
	}
	v := "out"
	switch {
	case e.kind == makes && node == 0:
		v = "none"
	case n < 30:
		v = "dead"
	case n < 45 && e.kind == may:
		v = "none"
	}
	name := fmt.Sprint(node, e.id)
	if s.verdicts[name] == nil {
		s.verdicts[name] = map[string]bool{}
	}
	s.verdicts[name][v] = true
	return v
}

// place is where something is made.
type scene struct {
	input int
	at    Position
	item  Item
}

// put has an event stored on a track, if that is fresh.
func (s *session) put(node int, dead bool, e modelEvent, sc scene) {
	for _, t := range s.tracks {
		if t.node != node || t.dead != dead || !dead && t.part != e.key {
			continue
		}
		if s.faults.position {
			if !sc.at.After(t.packed[sc.input]) {
				return
			}
		} else if !s.doubt.Fresh(t.number, sc.input, sc.at) {
			return
		}
		if sc.at.After(t.packed[sc.input]) {
			t.packed[sc.input] = sc.at
		}
		n := len(t.queue)
		if n == 0 || len(t.queue[n-1].ids) >= 2 || dead {
			t.queue = append(t.queue, &pending{})
			n++
		}
		p := t.queue[n-1]
		p.items.Add(sc.item)
		p.ids = append(p.ids, e.id)
		p.reach = slices.Clone(t.packed)
	}
}

// judge takes an event through a stage, as lane.route does.
func (s *session) judge(node int, e modelEvent, sc scene) {
	v := s.verdict(node, e)
	where, track := Unknown, 0
	if !s.faults.position {
		where, track = s.doubt.Went(node, sc.input, sc.at, sc.item)
	}
	out := false
	switch {
	case where == Stored:
		out = !s.tracks[track].dead
	case where == Behind, v == "out":
		s.put(node, false, e, sc)
		out = true
	case v == "dead":
		s.put(node, true, e, sc)
	}
	if out && node == 0 && s.chained {
		s.judge(1, e, sc)
	}
}

// step takes some messages through the stages and stores what comes of it. It says whether the worker lives on.
func (s *session) step(crashes bool) bool {
	done, ends := s.begin()
	for range 1 + s.r.IntN(4) {
		s.batch(s.r.IntN(len(s.inputs)), 1+s.r.IntN(3), ends)
	}
	s.seal(done)
	for {
		var busy []*sessionTrack
		for _, t := range s.tracks {
			if len(t.queue) > 0 {
				busy = append(busy, t)
			}
		}
		if len(busy) == 0 {
			break
		}
		if crashes && s.r.IntN(8) == 0 {
			s.say("worker %d dies", s.owner)
			return false
		}
		if !s.publish(busy[s.r.IntN(len(busy))]) {
			return false
		}
	}
	if crashes && s.r.IntN(8) == 0 {
		s.say("worker %d dies before it acknowledges", s.owner)
		return false
	}
	s.acknowledge(ends)
	return true
}

// begin returns up to where everything is done when a step begins, and where it ends so far.
func (s *session) begin() (done []Position, ends []uint64) {
	done = make([]Position, len(s.inputs))
	for i := range done {
		done[i] = Position{Seq: s.last[i], Index: math.MaxUint32}
	}
	return s.doubt.AtLeast(done), slices.Clone(s.last)
}

// seal writes the headers of the outputs of a step.
func (s *session) seal(done []Position) {
	for _, t := range s.tracks {
		since := t.fence
		if t.inDoubt && s.doubt.Open(done) && !s.faults.forgets {
			since = t.since
		}
		for _, p := range t.queue {
			s.number++
			o := Output{Number: s.number, Since: since, Items: &p.items, Done: done}
			p.owner, p.header = s.owner, string(o.Append(nil, s.places))
		}
	}
}

func (s *session) acknowledge(ends []uint64) {
	s.last = ends
	s.floors = append(s.floors, slices.Clone(s.floor))
	for i, f := range ends {
		s.floor[i] = max(s.floor[i], f)
	}
}

// batch takes a batch of n messages of an input at most: what is made of them stands behind the last one.
func (s *session) batch(in, n int, ends []uint64) {
	made := uint32(0)
	type making struct {
		e  modelEvent
		at uint64
	}
	var news []making
	side := 0
	for k := range n {
		seq := s.next[in]
		if seq > uint64(len(s.inputs[in])) {
			break
		}
		if k > 0 && s.doubt.Side(in, seq) != side && !s.faults.together {
			break
		}
		side = s.doubt.Side(in, seq)
		s.next[in]++
		ends[in] = seq
		for index, e := range s.inputs[in][seq-1] {
			sc := scene{in, Position{Seq: seq, Index: uint32(index)}, Item{Input: in, Seq: seq, Index: uint32(index)}}
			s.judge(0, e, sc)
			if e.kind == makes {
				news = append(news, making{modelEvent{"new-" + e.id, e.key, goes}, seq})
			}
		}
	}
	for _, m := range news {
		at := Position{Seq: ends[in], Index: ProducedIndex(0) + made}
		made++
		sc := scene{in, at, Item{Input: in, Seq: at.Seq, Index: at.Index, Made: xxh3.HashString(m.e.id)}}
		if s.faults.position {
			sc.item.Made = 0
		} else if where, _ := s.doubt.Went(0, in, at, sc.item); where == Stored {
			if s.chained {
				s.judge(1, m.e, sc)
			}
			continue
		}
		s.put(0, false, m.e, sc)
		if s.chained {
			s.judge(1, m.e, sc)
		}
	}
}

// publish stores the next output of a track. The answer may be lost: then the worker looks what is stored.
func (s *session) publish(t *sessionTrack) bool {
	p := t.queue[0]
	for {
		stored := t.last().seq == t.fence && s.r.IntN(10) > 0 // else the message is lost on its way
		if stored {
			p.seq = t.fence + 1 + uint64(s.r.IntN(2))
			t.all = append(t.all, p.modelOutput)
			s.say("worker %d: %s on %d.%v.%d", s.owner, strings.Join(p.ids, " "), t.node, t.dead, t.part)
		}
		if stored && s.r.IntN(4) > 0 {
			break
		}
		last := t.last()
		if s.faults.reachIsAll {
			if last.owner == s.owner && slices.Equal(last.reach, p.reach) {
				break
			}
		} else if of := ParseOutput(last.header, s.places); last.owner == s.owner && of.Number == ParseOutput(p.header, s.places).Number {
			break
		}
		if last.seq != t.fence && last.owner != s.owner {
			s.say("worker %d is refused", s.owner)
			return false
		}
		t.fence = last.seq
	}
	t.fence = t.last().seq
	t.queue = t.queue[1:]
	return true
}

// run has workers come and go until the input is done with.
func (w *world) run() {
	var zombie *session
	for try := 0; ; try++ {
		crashes := try < mostTries
		s := w.takeOver()
		for s.left() {
			// A worker that was frozen may go on with what it had begun: its outputs come late. Verdicts that differ are out of what
			// the fences cover then.
			if zombie != nil && w.repeatable && w.r.IntN(3) == 0 {
				for _, t := range zombie.tracks {
					if len(t.queue) > 0 && !zombie.publish(t) {
						zombie = nil
						break
					}
				}
			}
			if !s.step(crashes) {
				break
			}
			if w.r.IntN(6) == 0 && crashes && len(w.floors) > 1 { // the server forgets acknowledgements
				back := w.floors[max(0, len(w.floors)-1-w.r.IntN(3))]
				for i := range w.floor {
					w.floor[i] = min(w.floor[i], back[i])
				}
				w.say("the server forgets: %v", w.floor)
				break
			}
		}
		if !s.left() && slices.Equal(w.floor, s.ends()) {
			return
		}
		zombie = s
	}
}

func (s *session) ends() (ends []uint64) {
	for _, messages := range s.inputs {
		ends = append(ends, uint64(len(messages)))
	}
	return ends
}

func (s *session) left() bool {
	for in, messages := range s.inputs {
		if s.next[in] <= uint64(len(messages)) {
			return true
		}
	}
	return false
}

// violations are what is lost, doubled or out of order.
func (w *world) violations() (bad []string) {
	at := map[string]map[string]int{} // id: stage and port: times
	order := map[string]int{}
	for _, t := range w.tracks {
		port := map[bool]string{false: "out", true: "dead"}[t.dead]
		place := 0
		for _, o := range t.all {
			for _, id := range o.ids {
				if at[id] == nil {
					at[id] = map[string]int{}
				}
				at[id][fmt.Sprint(t.node, port)]++
				order[fmt.Sprint(t.node, port, id)] = place
				place++
			}
		}
	}
	check := func(e modelEvent) {
		n := at[e.id]
		final := n["0dead"] + n["0out"]
		if w.chained {
			final = n["0dead"] + n["1dead"] + n["1out"]
		}
		mayEnd := e.kind == may && (w.verdicts["0"+e.id]["none"] || w.verdicts["1"+e.id]["none"])
		switch {
		case final > 1:
			bad = append(bad, fmt.Sprintf("%s is stored %d times: %v", e.id, final, n))
		case final == 0 && !mayEnd:
			bad = append(bad, fmt.Sprintf("%s is lost: %v", e.id, n))
		case w.chained && w.storesOut && n["0out"] > 1:
			bad = append(bad, fmt.Sprintf("%s is %d times on the port out of stage 0", e.id, n["0out"]))
		case w.chained && w.storesOut && n["1dead"]+n["1out"] > n["0out"]:
			bad = append(bad, fmt.Sprintf("%s went on and is not on the port out of stage 0: %v", e.id, n))
		}
	}
	for i, messages := range w.inputs {
		var before []modelEvent
		for _, events := range messages {
			for _, e := range events {
				if e.kind == makes {
					check(modelEvent{"new-" + e.id, e.key, goes})
					continue
				}
				check(e)
				for _, b := range before { // of the same key, and of the same input
					for _, port := range []string{"0out", "1out"} {
						if !w.repeatable || b.key != e.key || at[b.id][port] == 0 || at[e.id][port] == 0 {
							continue
						}
						if order[port+b.id] > order[port+e.id] {
							bad = append(bad, fmt.Sprintf("input %d: %s is before %s on %s", i, e.id, b.id, port))
						}
					}
				}
				before = append(before, e)
			}
		}
	}
	return bad
}

// TestModel runs random histories of crashes, lost messages, lost answers, forgotten acknowledgements, frozen workers, and
// verdicts that differ from one try to the next: nothing is lost, doubled or out of order. make model runs more of them.
func TestModel(t *testing.T) {
	for seed := *first; seed < *first+uint64(*histories); seed++ {
		w := newWorld(seed, faults{})
		w.run()
		if bad := w.violations(); len(bad) > 0 {
			t.Fatalf("history %d:\n%s\n\n%s", seed, strings.Join(w.story, "\n"), strings.Join(bad, "\n"))
		}
	}
}

// TestModelFindsFaults takes out one mend after another: the model finds each.
func TestModelFindsFaults(t *testing.T) {
	for name, f := range map[string]faults{
		"positions are trusted":                           {position: true},
		"batches across the border":                       {together: true},
		"a second kill forgets what the first one stored": {forgets: true},
		"outputs are known by how far they reach":         {reachIsAll: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5000) {
				w := newWorld(seed, f)
				w.run()
				if bad := w.violations(); len(bad) > 0 {
					t.Logf("history %d: %s", seed, bad[0])
					return
				}
			}
			t.Error("no violation in 5,000 histories")
		})
	}
}
