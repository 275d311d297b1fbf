package patterns

import (
	"reflect"
	"testing"

	"github.com/hashicorp/golang-lru/v2/simplelru"

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
