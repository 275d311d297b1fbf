package progress

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// teller tells a story of the model: what workers decide, store and do not store, one after another.
type teller struct {
	*world
	decisions map[string]string // of the worker that is at it: by event
}

// newTeller has one input with messages, each of which is the ids of its events separated by spaces. An event whose id begins
// with m has a new one made of it. All are of partition 0. With chained, stage 1 is given what stage 0 lets through.
func newTeller(chained bool, messages ...string) *teller {
	w := newWorld(1, faults{})
	w.inputs, w.places, w.floor, w.tracks = nil, []Place{{"in", "x"}}, make([]uint64, 1), nil
	w.chained, w.storesOut = chained, true
	var input [][]modelEvent
	for _, m := range messages {
		var events []modelEvent
		for _, id := range strings.Fields(m) {
			e := modelEvent{id: id}
			if id[0] == 'm' {
				e.kind = makes
			}
			events = append(events, e)
		}
		input = append(input, events)
	}
	w.inputs = [][][]modelEvent{input}
	for node := range 2 {
		if node == 0 || chained {
			w.tracks = append(w.tracks, &modelTrack{node: node}, &modelTrack{node: node, port: dead})
		}
	}
	w.tracks = append(w.tracks, &modelTrack{port: side})
	t := &teller{world: w}
	w.script = func(_ uint64, node int, e modelEvent) string {
		if d, ok := t.decisions[fmt.Sprint(e.id, "@", node)]; ok {
			return d
		}
		if e.kind == makes {
			return "none"
		}
		return "out"
	}
	return t
}

// worker has a worker take a step of batches of so many messages each, with decisions such as "a@0 dead" (others go on). It stores
// what lies on the tracks that are named, such as "0out", "1dead", and dies; with "all" it stores everything and
// acknowledges.
func (t *teller) worker(decisions, stores string, batches ...int) {
	t.decisions = map[string]string{}
	for d := range strings.SplitSeq(decisions, ",") {
		if name, verdict, ok := strings.Cut(strings.TrimSpace(d), " "); ok {
			t.decisions[name] = verdict
		}
	}
	s := t.takeOver()
	done, ends := s.begin()
	for _, n := range batches {
		s.batch(0, n, ends)
	}
	s.seal(done, false)
	for _, track := range s.tracks {
		for len(track.queue) > 0 && (stores == "all" || slices.Contains(strings.Fields(stores), track.name())) && s.publish(track) {
		}
	}
	if stores == "all" {
		s.acknowledge(ends)
	}
}

func (t *modelTrack) name() string {
	return fmt.Sprint(t.node, portNames()[t.port])
}

// stored is what lies on each track.
func (t *teller) stored() map[string]string {
	all := map[string]string{}
	for _, track := range t.tracks {
		var ids []string
		for _, o := range track.all {
			ids = append(ids, o.ids...)
		}
		if len(ids) > 0 {
			all[track.name()] = strings.Join(ids, " ")
		}
	}
	return all
}

// TestStories: what workers do one after another, and what is stored at the end.
func TestStories(t *testing.T) {
	for name, c := range map[string]struct {
		chained  bool
		messages []string
		tell     func(t *teller)
		want     map[string]string
	}{
		"an event that was to be dead passes at the second try": {
			messages: []string{"a b"},
			tell: func(t *teller) {
				t.worker("a@0 dead", "0out", 1) // the dead letters are full
				t.worker("", "all", 1)
			},
			want: map[string]string{"0out": "b a"},
		},
		"an event on two ports comes to the second one, whatever is decided at the second try": {
			messages: []string{"a b"},
			tell: func(t *teller) {
				t.worker("a@0 both", "0side", 1) // the port out is full
				t.worker("a@0 dead, b@0 side", "all", 1)
			},
			want: map[string]string{"0side": "a b", "0out": "a"},
		},
		"an event on two ports of which none is stored goes where it is sent at the second try": {
			messages: []string{"a b"},
			tell: func(t *teller) {
				t.worker("a@0 both", "", 1)
				t.worker("a@0 side", "0out", 1)
				t.worker("a@0 both", "all", 1)
			},
			want: map[string]string{"0side": "a", "0out": "b a"},
		},
		"three workers for an event on two ports": {
			messages: []string{"a"},
			tell: func(t *teller) {
				t.worker("a@0 both", "0out", 1)
				t.worker("a@0 dead", "", 1)
				t.worker("a@0 none", "0side", 1)
				t.worker("a@0 dead", "all", 1)
			},
			want: map[string]string{"0side": "a", "0out": "a"},
		},
		"a dead letter stays one": {
			messages: []string{"a b"},
			tell: func(t *teller) {
				t.worker("a@0 dead", "0dead", 1)
				t.worker("", "all", 1)
			},
			want: map[string]string{"0dead": "a", "0out": "b"},
		},
		"new events in other batches": {
			messages: []string{"m1", "m2", "m3", "m4"},
			tell: func(t *teller) {
				t.worker("", "0out", 3)
				t.worker("", "all", 1, 3, 1)
			},
			want: map[string]string{"0out": "new-m1 new-m2 new-m3 new-m4"},
		},
		"two workers die in the same step": {
			messages: []string{"a b c"},
			tell: func(t *teller) {
				t.worker("a@0 dead, b@0 dead", "0out", 1)
				t.worker("a@0 dead", "0out", 1)
				t.worker("", "all", 1)
			},
			want: map[string]string{"0out": "c b a"},
		},
		"everything is stored, the acknowledgement is lost, and the server forgets the one before": {
			messages: []string{"a", "b", "c"},
			tell: func(t *teller) {
				t.worker("", "all", 1)
				t.worker("b@0 dead", "0out 0dead", 1, 1)
				t.floor[0] = 0
				t.worker("a@0 dead, c@0 dead", "all", 3)
			},
			want: map[string]string{"0out": "a c", "0dead": "b"},
		},
		"what a chained stage has stored went through the first": {
			chained: true, messages: []string{"a b"},
			tell: func(t *teller) {
				t.worker("a@1 dead", "1dead", 1)
				t.worker("a@0 dead", "all", 1)
			},
			want: map[string]string{"0out": "a b", "1out": "b", "1dead": "a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			teller := newTeller(c.chained, c.messages...)
			c.tell(teller)
			if diff := cmp.Diff(c.want, teller.stored()); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

// TestItems: lists of any form come back, and take few bytes.
func TestItems(t *testing.T) {
	message := func(seq uint64, events int) (items []Item) {
		for i := range events {
			items = append(items, Item{Seq: seq, Index: uint32(i)})
		}
		return items
	}
	var loose, scattered []Item
	for i := range 4096 {
		loose = append(loose, Item{Seq: 1000 + uint64(i)})
		scattered = append(scattered, Item{Input: 1, Seq: 7, Index: uint32(8 * i)})
	}
	for name, c := range map[string]struct {
		items []Item
		bytes int
	}{
		"none":                                   {nil, 2},
		"a message":                              {message(1<<40, 2000), 16},
		"messages of one event":                  {loose, 12},
		"every eighth event":                     {scattered, 4096 * 5},
		"several inputs and new ones":            {append(append(message(9, 3), Item{Input: 2, Seq: 3, Index: 5}, Item{Made: 7}), message(12, 1)...), 48},
		"back in the stream":                     {append(message(100, 2), message(50, 2)...), 24},
		"the largest numbers":                    {[]Item{{Seq: 1<<64 - 1, Index: 1<<32 - 1}, {Made: 1<<64 - 1}}, 48},
		"on several ports":                       {[]Item{{Seq: 5, Ports: 5}, {Seq: 5, Index: 1, Ports: 5}, {Seq: 5, Index: 2}, {Seq: 6, Ports: 1 << 63}}, 48},
		"a message of one event, and one of two": {append(message(5, 1), message(6, 2)...), 16},
	} {
		t.Run(name, func(t *testing.T) {
			var s Items
			for _, it := range c.items {
				s.Add(it)
			}
			text := s.Append(nil)
			if len(text) > c.bytes || len(text) > s.Size() {
				t.Errorf("%d bytes, want %d at most, and no more than Size, %d", len(text), c.bytes, s.Size())
			}
			back, err := ParseItems(string(text))
			if err != nil {
				t.Fatal(err)
			}
			want, got := map[Item]int{}, map[Item]int{}
			for _, it := range c.items {
				want[it]++
			}
			back.each(func(it Item) { got[it]++ })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("came back (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInputsInAnotherOrder: the next worker has the inputs of a stage in another order, one of them made anew and one more.
func TestInputsInAnotherOrder(t *testing.T) {
	before := []Place{{"a/out", "1"}, {"b/out", "2"}, {"c/out", "3"}}
	now := []Place{{"d/out", "4"}, {"c/out", "33"}, {"b/out", "2"}, {"a/out", "1"}}
	var s Items
	for i := range before {
		s.Add(Item{Input: i, Seq: uint64(10 + i)})
	}
	o := Output{Number: 1, Items: &s, Done: []Position{{Seq: 9}, {Seq: 8}, {Seq: 7}}}
	got := ParseOutput(string(o.Append(nil, before)), now, nil)
	var items []Item
	got.Items.each(func(it Item) { items = append(items, it) })
	if diff := cmp.Diff([]Item{{Input: 3, Seq: 10}, {Input: 2, Seq: 11}}, items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Position{{}, {}, {Seq: 8}, {Seq: 9}}, got.Done); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
}

// TestPortsInAnotherOrder: the next worker numbers the ports of a stage in another way, and one is gone.
func TestPortsInAnotherOrder(t *testing.T) {
	places := []Place{{"in", "x"}}
	var s Items
	s.Add(Item{Seq: 1, Ports: 0b111})
	s.Add(Item{Seq: 2, Ports: 0b011})
	o := Output{Items: &s, Ports: []string{"out", "orders", "payments"}, Done: []Position{{Seq: 9}}}
	got := ParseOutput(string(o.Append(nil, places)), places, []string{"out", "audit", "payments", "stock"})
	var ports []uint64
	got.Items.each(func(it Item) { ports = append(ports, it.Ports) })
	if diff := cmp.Diff([]uint64{0b101, 0b001}, ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Position{{Seq: 9}}, got.Done); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
}

// FuzzOutput: a header of whatever text is read or refused.
func FuzzOutput(f *testing.F) {
	var s Items
	s.Add(Item{Seq: 5, Index: 3})
	o := Output{Number: 4, Since: 17, Items: &s, Done: []Position{{Seq: 4, Index: 9}}}
	places := []Place{{"in", "x"}}
	f.Add(string(o.Append(nil, places)))
	s.Add(Item{Seq: 6, Ports: 3})
	o.Ports = []string{"side", "out"}
	f.Add(string(o.Append(nil, places)))
	f.Add("1 2  ")
	f.Add("1 2 gICAgICAgICAgAE in@x in@x:1.2.3")
	f.Fuzz(func(t *testing.T, text string) {
		o := ParseOutput(text, places, []string{"out", "side"})
		if o == nil {
			return
		}
		n := 0
		for _, r := range o.Items.runs {
			n += int(r.messages) * int(r.events)
		}
		if n > maxListed {
			t.Errorf("%d bytes list %d events", len(text), n)
		}
	})
}
