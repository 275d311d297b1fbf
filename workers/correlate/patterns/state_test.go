package patterns

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/stage/state"
)

func kept[T any](f *stagetest.Fields, fresh func() *T, encode func(*graph, *T), derived ...string) {
	stagetest.Kept(f, fresh, func(sc *state.Codec, v *T) { encode(&graph{Codec: sc}, v) }, derived...)
}

func zero[T any]() *T { return new(T) }

// TestNothingIsForgotten: a field that is added to the state is kept, or somebody has said why not.
func TestNothingIsForgotten(t *testing.T) {
	keys, err := simplelru.NewLRU[keyName, *entity](8, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys.Add(keyName{key: "x"}, &entity{})
	f := stagetest.NewFields(t, keys, queue{heap: []queued{{event: &occurrence{}}}}, []*expectation{{}})
	kept(f, func() *Core { return New(DefaultLimits, testName) }, (*graph).core, "limits", "name", "byName", "byPair", "findings", "lists", "counts")
	kept(f, zero[kind], (*graph).kind, "then", "after")
	kept(f, zero[kindName], (*graph).kindName)
	kept(f, zero[keyName], (*graph).keyName)
	kept(f, zero[entity], (*graph).entity)
	kept(f, zero[quietness], (*graph).quietness)
	kept(f, func() *slot { return &slot{n: ringSize} }, (*graph).slot)
	kept(f, zero[pairName], (*graph).pairName)
	kept(f, zero[pair], (*graph).pair)
	kept(f, zero[Example], (*graph).example)
	kept(f, zero[expectation], (*graph).expectation)
	kept(f, zero[queued], (*graph).queued)
	kept(f, zero[occurrence], (*graph).occurrence)
	f.Reach(reflect.TypeFor[Core](), reflect.TypeFor[Limits](), reflect.TypeFor[Counts](), reflect.TypeFor[queue](), reflect.TypeFor[Finding](), reflect.TypeFor[Listing](),
		reflect.TypeFor[Pattern](), reflect.TypeFor[pairName]())
}

// TestDamaged: a state that says anything leads to an error, or to a core that works on and whose state can be restored. Wrong checksums are refused
// before; these are right.
func TestDamaged(t *testing.T) {
	events := small()
	c := New(tight(), testName)
	for i := range events[:4000] {
		c.Take(&events[i])
		c.Advance(events[i].At)
	}
	whole := snapshot(t, c)
	r := rand.New(rand.NewPCG(8, 8))
	refused, read := 0, 0
	for range 300 {
		b := slices.Clone(whole)
		for range 1 + r.IntN(3) {
			b[18+r.IntN(len(b)-26)] = byte(r.IntN(256))
		}
		binary.BigEndian.PutUint64(b[len(b)-8:], xxh3.Hash(b[:len(b)-8]))
		c := New(tight(), testName)
		if state.Read(b, format(), c.State) != nil {
			refused++
			continue
		}
		read++
		restored(t, tight(), snapshot(t, c))
		c.now = min(c.now, events[4000].At)
		for i := range events[4000:4200] {
			c.Take(&events[4000+i])
			c.Advance(events[4000+i].At)
		}
	}
	if refused == 0 || read == 0 {
		t.Errorf("%d were refused, %d read", refused, read)
	}
}
