package state_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/stage/state"
)

type node struct {
	Name  string
	Next  *node
	Alone *node
}

type all struct {
	I64   int64
	I8    int8
	U16   uint16
	U64   uint64
	F64   float64
	F32   float32
	Hash  uint64
	Yes   bool
	Text  []string
	Names []string
	Raw   []byte
	Map   map[string]int
	Event *eventv1.Event
	None  *eventv1.Event
	Ring  *node
}

func (a *all) state(c *state.Codec) {
	var nodes state.Shared[node]
	state.Int(c, &a.I64)
	state.Int(c, &a.I8)
	state.Int(c, &a.U16)
	state.Int(c, &a.U64)
	c.Float64(&a.F64)
	c.Float32(&a.F32)
	c.Fixed64(&a.Hash)
	c.Bool(&a.Yes)
	state.Slice(c, &a.Text, c.Text)
	state.Slice(c, &a.Names, c.String)
	c.Bytes(&a.Raw)
	if c.Reading() {
		a.Map = map[string]int{}
	}
	state.Map(c, a.Map, strings.Compare, func(k *string, v *int) {
		c.String(k)
		state.Int(c, v)
	})
	state.Message(c, &a.Event)
	state.Message(c, &a.None)
	nodes.Must(c, &a.Ring)
	for nodes.Each(c, func(n *node) {
		c.String(&n.Name)
		nodes.Must(c, &n.Next)
		nodes.Ref(c, &n.Alone)
	}) {
	}
}

func example() *all {
	first, second := &node{Name: "first"}, &node{Name: "second"}
	first.Next, second.Next, second.Alone = second, first, second
	return &all{
		I64: math.MinInt64, I8: -128, U16: math.MaxUint16, U64: math.MaxUint64, F64: math.Inf(-1), F32: -0.5, Hash: 1, Yes: true,
		Text: []string{"a", "b", "a", "", "a"}, Names: []string{"x", ""}, Raw: []byte{0, 0xff}, Map: map[string]int{"a": -1, "b": 2, "c": 0},
		Event: &eventv1.Event{Id: "e"}, Ring: first,
	}
}

var format = state.Format{Version: 3, Depends: "settings"}

func TestWhatIsWrittenIsRead(t *testing.T) {
	before := []byte("before")
	b, err := state.Write(before, format, example().state)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b, before) {
		t.Error("what stood before is gone")
	}
	b = b[len(before):]
	if again, err := state.Write(nil, format, example().state); err != nil || !bytes.Equal(b, again) {
		t.Errorf("equal values make different bytes (error %v)", err)
	}
	var got all
	if err := state.Read(b, format, got.state); err != nil {
		t.Fatal(err)
	}
	want := example()
	if got.Event.GetId() != "e" || got.Ring.Next.Next != got.Ring || got.Ring.Next.Alone != got.Ring.Next {
		t.Errorf("got event %v, ring %v", got.Event, got.Ring)
	}
	want.Event, got.Event, want.Ring, got.Ring = nil, nil, nil, nil
	if d := cmp.Diff(*want, got); d != "" {
		t.Error(d)
	}
}

func TestAnotherFormatIsRefused(t *testing.T) {
	b, err := state.Write(nil, format, example().state)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]state.Format{
		"version 3, this is version 4": {Version: 4, Depends: "settings"},
		"another config":               {Version: 3, Depends: "settings of others"},
	} {
		if err := state.Read(b, f, new(all).state); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error with %q", err, name)
		}
	}
}

// TestWrongContentIsRefused: the checksum is right, and what it is of is not.
func TestWrongContentIsRefused(t *testing.T) {
	huge := math.MaxInt
	for name, c := range map[string]struct{ write, read func(*state.Codec) }{
		"out of range": {
			func(c *state.Codec) { state.Int(c, &huge) },
			func(c *state.Codec) { state.Int(c, new(uint16)) },
		},
		"cut off": {
			func(c *state.Codec) { c.Len(huge) },
			func(c *state.Codec) { c.String(new(string)) },
		},
		"left over": {
			func(c *state.Codec) { state.Int(c, &huge) },
			func(*state.Codec) {},
		},
		"number 9 of 0": {
			func(c *state.Codec) { c.Len(9) },
			func(c *state.Codec) { new(state.Shared[node]).Ref(c, new(*node)) },
		},
		"a text has number 9 of 0": {
			func(c *state.Codec) { c.Len(9) },
			func(c *state.Codec) { c.Text(new(string)) },
		},
		"reference to nothing": {
			func(c *state.Codec) { c.Len(0) },
			func(c *state.Codec) { new(state.Shared[node]).Must(c, new(*node)) },
		},
		"same key twice": {
			func(c *state.Codec) { state.Slice(c, &[]string{"a", "a"}, c.String) },
			func(c *state.Codec) {
				state.Map(c, map[string]bool{}, strings.Compare, func(k *string, _ *bool) { c.String(k) })
			},
		},
		"more entries than it takes": {
			func(c *state.Codec) { state.Slice(c, &[]string{"a", "b"}, c.String) },
			func(c *state.Codec) {
				l, _ := simplelru.NewLRU[string, bool](1, nil)
				state.LRU(c, l, 1, func(k *string, _ *bool) { c.String(k) })
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := state.Write(nil, format, c.write)
			if err != nil {
				t.Fatal(err)
			}
			if err := state.Read(b, format, c.read); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
		})
	}
}
