package progress

import (
	"flag"
	"fmt"
	"math"
	"math/bits"
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
// The lane has the stage 0, and in half of the histories the stage 1, which is chained to it. In some of the others
// stage 0 has a second port, side, and sends events there, to out, or to both. In others it is a sink: it keeps events in a target, which
// refuses some of them. In half of all, outputs without events (markers) are stored on subjects that a step leaves silent.

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
	port int
	part int // partition of the port out
	all  []modelOutput
}

// The ports of stages.
const (
	out = iota
	dead
	side
)

// ports are the ports that an event is sent to, by what is decided; a missing one ends it.
func ports(verdict string) uint64 {
	return map[string]uint64{"out": 1 << out, "dead": 1 << dead, "side": 1 << side, "both": 1<<out | 1<<side}[verdict]
}

func portNames() []string { return []string{"out", "dead", "side"} }

func (w *world) parse(header string) *Output { return ParseOutput(header, w.places, portNames()) }

func (t *modelTrack) last() *modelOutput {
	if len(t.all) == 0 {
		return &modelOutput{}
	}
	return &t.all[len(t.all)-1]
}

// faults are mends that are taken out, to show that the model finds what they are for.
type faults struct {
	position     bool // trust positions: an output that reaches behind an item holds it (B1)
	together     bool // batches across the border of the step in doubt (B7)
	forgets      bool // a second kill: what the first worker stored of the step is not read back
	reachIsAll   bool // an output is known again by how far it reaches
	onePort      bool // an event that is stored on one port counts as stored on all
	unfenced     bool // who takes a lane over leaves the place in the target as it is
	noPlace      bool // who takes a lane over does not ask the target where it stands
	stepIsAll    bool // what the target refuses reaches as far as its step, whatever lies behind that already
	markerIsBack bool // a marker reaches as far as its step, whatever is stored on its subject already
	moreIsNew    bool // what the target refuses is stored like the beginning of another step
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
	routes     bool // stage 0 has the port side
	sinks      bool // stage 0 is a sink
	marks      bool // silent subjects are given markers
	target     modelTarget
	repeatable bool // stages decide alike at each try
	owner      uint64
	verdicts   map[string]map[string]bool // of stage and id: what was ever decided
	story      []string
	script     func(owner uint64, node int, e modelEvent) string // what is decided; nil = it is drawn
}

// modelTarget is the target of a sink: rows, and how far they reach.
type modelTarget struct {
	reach, name string // the place
	rows        []string
}

func newWorld(seed uint64, f faults) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 7)), faults: f, verdicts: map[string]map[string]bool{}}
	w.chained, w.repeatable = w.r.IntN(2) == 0, w.r.IntN(4) == 0
	w.sinks = !w.chained && w.r.IntN(3) == 0
	w.storesOut = !w.sinks && (!w.chained || w.r.IntN(2) == 0)
	w.marks = w.r.IntN(2) == 0
	w.routes = !w.chained && !w.sinks && w.r.IntN(2) == 0
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
		w.tracks = append(w.tracks, &modelTrack{node: node, port: dead})
	}
	if w.routes {
		w.tracks = append(w.tracks, &modelTrack{port: side})
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

	// Of a sink:
	place string     // the name of the place where the lane stands
	rows  []modelRow // of the step
	reach []Position // of the step
	done  []Position // before the step
}

// modelRow is an event that the sink is to keep.
type modelRow struct {
	id   string
	item Item
}

type sessionTrack struct {
	*modelTrack
	number  int
	fence   uint64
	since   uint64
	began   uint64 // the last output that is not of the step
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
		o := w.parse(last.header)
		st.since = o.Since
		written = append(written, Written{Node: t.node, Track: i, Port: t.port, Reach: slices.Clone(last.reach), Done: o.Done})
		for in, p := range last.reach {
			if p.Seq <= w.floor[in] {
				s.last[in] = max(s.last[in], p.Seq)
			}
		}
	}
	if w.sinks && !w.faults.noPlace {
		kept := ParseReach(w.target.reach, w.places)
		written = append(written, Written{Node: -1, Track: -1, Reach: kept, Done: kept})
	}
	if w.sinks && !w.faults.unfenced {
		w.target.name = s.attempt()
	}
	s.place = w.target.name
	done := Done(len(w.inputs), written)
	for k := range written {
		if wr := &written[k]; wr.InDoubt(done) {
			st := s.tracks[wr.Track]
			st.inDoubt = true
			for _, o := range st.all {
				if o.seq > st.since {
					wr.Items = append(wr.Items, w.parse(o.header).Items)
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

// verdict draws what stage node decides about an event: "out", "dead", "side", "both" or "none".
func (s *session) verdict(node int, e modelEvent) string {
	if s.script != nil {
		return s.script(s.owner, node, e)
	}
	if s.sinks {
		e.kind %= makes
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
	case n < 60 && s.routes && node == 0:
		v = "side"
	case n < 80 && s.routes && node == 0:
		v = "both"
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

// put has an event stored on the tracks of some ports, where it is fresh.
func (s *session) put(node int, on uint64, e modelEvent, sc scene) {
	for _, t := range s.tracks {
		if t.node != node || on&(1<<t.port) == 0 || t.port == out && t.part != e.key {
			continue
		}
		if s.faults.position {
			if !sc.at.After(t.packed[sc.input]) {
				continue
			}
		} else if !s.doubt.Fresh(t.number, sc.input, sc.at) {
			continue
		}
		if sc.at.After(t.packed[sc.input]) {
			t.packed[sc.input] = sc.at
		}
		n := len(t.queue)
		if n == 0 || len(t.queue[n-1].ids) >= 2 || t.port == dead {
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
	decided := ports(s.verdict(node, e))
	where, was := Unknown, Copies{}
	if !s.faults.position {
		where, was = s.doubt.Went(node, sc.input, sc.at, sc.item)
	}
	lacks := decided
	switch where {
	case Stored:
		decided, lacks = was.Decided, was.Lacks()
		if s.faults.onePort {
			lacks = 0
		}
	case Behind:
		decided, lacks = 1<<out, 1<<out
	}
	if bits.OnesCount64(decided) > 1 && sc.item.Made == 0 {
		sc.item.Ports = decided
	}
	if s.sinks && where == Unknown && decided == 1<<out {
		if s.doubt.Fresh(-1, sc.input, sc.at) {
			s.rows = append(s.rows, modelRow{e.id, sc.item})
		}
		return
	}
	s.put(node, lacks, e, sc)
	sc.item.Ports = 0
	if decided&(1<<out) != 0 && node == 0 && s.chained {
		s.judge(1, e, sc)
	}
}

// step takes some messages through the stages and stores what comes of it. It says whether the worker lives on.
func (s *session) step(crashes bool) bool {
	done, ends := s.begin()
	s.rows, s.done = nil, done
	for range 1 + s.r.IntN(4) {
		s.batch(s.r.IntN(len(s.inputs)), 1+s.r.IntN(3), ends)
	}
	s.reach = make([]Position, len(ends))
	for i, seq := range ends {
		s.reach[i] = Position{Seq: seq, Index: math.MaxUint32}
	}
	s.doubt.AtLeast(s.reach)
	s.mark(done)
	s.seal(done, false)
	if !s.storeTracks(crashes) || s.sinks && !s.keep(crashes) {
		return false
	}
	if crashes && s.r.IntN(8) == 0 {
		s.say("worker %d dies before it acknowledges", s.owner)
		return false
	}
	s.acknowledge(ends)
	return true
}

// mark adds outputs without events on some tracks that the step has nothing for.
func (s *session) mark(done []Position) {
	for _, t := range s.tracks {
		if s.marks && t.port != dead && len(t.queue) == 0 && s.r.IntN(2) == 0 {
			reach := slices.Clone(done)
			if !s.faults.markerIsBack {
				Advance(reach, t.packed)
			}
			t.queue = append(t.queue, &pending{modelOutput: modelOutput{reach: reach}})
		}
	}
}

// storeTracks stores what is pending. It says whether the worker lives on.
func (s *session) storeTracks(crashes bool) bool {
	for {
		var busy []*sessionTrack
		for _, t := range s.tracks {
			if len(t.queue) > 0 {
				busy = append(busy, t)
			}
		}
		if len(busy) == 0 {
			return true
		}
		if crashes && s.r.IntN(8) == 0 {
			s.say("worker %d dies", s.owner)
			return false
		}
		if !s.publish(busy[s.r.IntN(len(busy))]) {
			return false
		}
	}
}

// refuses draws whether the target does not take a row.
func (s *session) refuses(row modelRow) bool {
	if s.repeatable {
		return xxh3.HashString("row "+row.id)%6 == 0
	}
	return s.r.IntN(6) == 0
}

// attempt names an attempt to store in the target.
func (s *session) attempt() string {
	s.number++
	return fmt.Sprint(s.owner, "/", s.number)
}

// keep stores the rows of the step in the target, or the dead letters of those that it refuses, and then the others. It says whether the
// worker lives on.
func (s *session) keep(crashes bool) bool {
	for {
		i := slices.IndexFunc(s.rows, s.refuses)
		if i < 0 {
			break
		}
		refused := s.rows[i]
		s.rows = slices.Delete(s.rows, i, i+1)
		s.say("worker %d: the target refuses %s", s.owner, refused.id)
		for _, t := range s.tracks {
			if t.port == dead {
				p := &pending{}
				p.items.Add(refused.item)
				p.ids, p.reach = []string{refused.id}, Advance(slices.Clone(s.reach), t.packed)
				if s.faults.stepIsAll {
					p.reach = s.reach
				}
				t.queue = append(t.queue, p)
			}
		}
		s.seal(s.done, !s.faults.moreIsNew)
		if !s.storeTracks(crashes) {
			return false
		}
	}
	if crashes && s.r.IntN(8) == 0 {
		s.say("worker %d dies before the target stores", s.owner)
		return false
	}
	return s.store()
}

// store stores the rows of the step with the place behind it. It says whether the lane was still where the worker left it.
func (s *session) store() bool {
	if s.target.name != s.place {
		s.say("worker %d is refused by the target", s.owner)
		return false
	}
	for _, row := range s.rows {
		s.target.rows = append(s.target.rows, row.id)
	}
	s.say("worker %d: the target keeps %v", s.owner, s.rows)
	s.place = s.attempt()
	s.target.name, s.target.reach, s.rows = s.place, string(AppendReach(nil, s.places, s.reach)), nil
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

// seal writes the headers of the outputs of a step, or of more of the same step.
func (s *session) seal(done []Position, more bool) {
	for _, t := range s.tracks {
		since := t.fence
		switch {
		case more:
			since = t.began
		case t.inDoubt && s.doubt.Open(done) && !s.faults.forgets:
			since = t.since
		}
		t.began = since
		for _, p := range t.queue {
			s.number++
			o := Output{Number: s.number, Since: since, Items: &p.items, Ports: portNames(), Done: done}
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
			if e.kind == makes && !s.sinks {
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
		s.put(0, 1<<out, m.e, sc)
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
			s.say("worker %d: %s on %d.%s.%d", s.owner, strings.Join(p.ids, " "), t.node, portNames()[t.port], t.part)
		}
		if stored && s.r.IntN(4) > 0 {
			break
		}
		last := t.last()
		if s.faults.reachIsAll {
			if last.owner == s.owner && slices.Equal(last.reach, p.reach) {
				break
			}
		} else if of := s.parse(last.header); last.owner == s.owner && of.Number == s.parse(p.header).Number {
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
			if zombie != nil && w.sinks && zombie.rows != nil && w.r.IntN(3) == 0 {
				zombie.store()
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
		port := portNames()[t.port]
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
		if w.sinks {
			bad = append(bad, w.misplaced(e, n["0dead"])...)
			return
		}
		final := n["0dead"] + n["0out"]
		if w.chained {
			final = n["0dead"] + n["1dead"] + n["1out"]
		}
		if w.routes {
			bad = append(bad, w.misrouted(e, n)...)
			return
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
				if e.kind == makes && !w.sinks {
					check(modelEvent{"new-" + e.id, e.key, goes})
					continue
				}
				check(e)
				for _, b := range before { // of the same key, and of the same input
					for _, port := range []string{"0out", "0side", "1out"} {
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
	return append(append(bad, w.disordered()...), w.behindMarks()...)
}

// behindMarks are events that are stored behind a marker that reaches as far as them, where stages decide alike at each try.
func (w *world) behindMarks() (bad []string) {
	for _, t := range w.tracks {
		reach := make([]Position, len(w.inputs))
		for _, o := range t.all {
			if len(o.ids) == 0 {
				Advance(reach, o.reach)
				continue
			}
			w.parse(o.header).Items.each(func(it Item) {
				if at := (Position{Seq: it.Seq, Index: it.Index}); w.repeatable && it.Made == 0 && !at.After(reach[it.Input]) {
					bad = append(bad, fmt.Sprintf("%v are stored on %d.%s.%d behind a marker that reaches to %v", o.ids, t.node, portNames()[t.port], t.part, reach))
				}
			})
		}
	}
	return bad
}

// misplaced says whether an event is not once in the target or in the dead letters, where it is so many times.
func (w *world) misplaced(e modelEvent, dead int) (bad []string) {
	kept := 0
	for _, id := range w.target.rows {
		if id == e.id {
			kept++
		}
	}
	if dead+kept > 1 || dead+kept == 0 && !w.verdicts["0"+e.id]["none"] {
		bad = append(bad, fmt.Sprintf("%s is %d times in the target and %d times in the dead letters", e.id, kept, dead))
	}
	return bad
}

// disordered are the rows of the target that stand before one of the same input that came before them.
func (w *world) disordered() (bad []string) {
	at := map[string]int{}
	for i, id := range w.target.rows {
		at[id] = i
	}
	for _, messages := range w.inputs {
		last := -1
		for _, events := range messages {
			for _, e := range events {
				if i, ok := at[e.id]; ok {
					if i < last {
						bad = append(bad, e.id+" is out of order in the target")
					}
					last = i
				}
			}
		}
	}
	return bad
}

// misrouted says whether an event of a stage with several ports is not stored once on each port of one of the sets that were ever
// decided, so often n on each.
func (w *world) misrouted(e modelEvent, n map[string]int) (bad []string) {
	var on uint64
	for i, port := range portNames() {
		switch times := n["0"+port]; {
		case times > 1:
			bad = append(bad, fmt.Sprintf("%s is stored %d times on %s", e.id, times, port))
		case times == 1:
			on |= 1 << i
		}
	}
	if strings.HasPrefix(e.id, "new-") {
		if on != 1<<out {
			bad = append(bad, fmt.Sprintf("%s is stored on %v", e.id, n))
		}
		return bad
	}
	for verdict := range w.verdicts["0"+e.id] {
		if ports(verdict) == on {
			return bad
		}
	}
	return append(bad, fmt.Sprintf("%s is stored on %v; what was decided: %v", e.id, n, w.verdicts["0"+e.id]))
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
		"one port stands for all":                         {onePort: true},
		"a marker reaches back":                           {markerIsBack: true},
		"a target is not fenced":                          {unfenced: true},
		"a target is not asked":                           {noPlace: true},
		"refused rows reach as far as their step":         {stepIsAll: true},
		"refused rows begin a step":                       {moreIsNew: true},
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
