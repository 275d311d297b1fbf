package cel

import (
	"maps"
	"reflect"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"millrace.dev/millrace/workers/event"
)

// pairs are the attributes of an event that are a map to expressions.
type pairs struct {
	find  func(e *event.Event, key string) (value any, ok bool)
	visit func(e *event.Event, yield func(key string, v event.Value) bool)
	value func(event.Value) any
}

// field makes the field that holds them.
func (p *pairs) field() field {
	return field{
		get: func(t any) any { return &lazyMap{event: t.(*event.Event), pairs: p} },
		set: func(t any) bool {
			found := false
			p.visit(t.(*event.Event), func(string, event.Value) bool { found = true; return false })
			return found
		},
	}
}

// lazyMap looks single keys up in the event. What else an expression asks of a map makes it.
type lazyMap struct {
	event *event.Event
	pairs *pairs
	made  *orderedMap
}

func (m *lazyMap) all() *orderedMap {
	if m.made == nil {
		entries := map[string]any{}
		m.pairs.visit(m.event, func(k string, v event.Value) bool { entries[k] = m.pairs.value(v); return true })
		m.made = &orderedMap{types.NewStringInterfaceMap(types.DefaultTypeAdapter, entries), entries}
	}
	return m.made
}

// Find looks a key up.
func (m *lazyMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok || m.made != nil {
		return m.all().Find(key)
	}
	v, ok := m.pairs.find(m.event, string(name))
	if !ok {
		return nil, false
	}
	return types.DefaultTypeAdapter.NativeToValue(v), true
}

// Get looks a key up; the value is an error when there is none.
func (m *lazyMap) Get(key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	return m.all().Get(key)
}

// Contains says whether there is a key.
func (m *lazyMap) Contains(key ref.Val) ref.Val {
	if _, ok := m.Find(key); ok {
		return types.True
	}
	return m.all().Contains(key)
}

// Iterator goes through the keys in their order.
func (m *lazyMap) Iterator() traits.Iterator { return m.all().Iterator() }

// Size is how many keys there are.
func (m *lazyMap) Size() ref.Val { return m.all().Size() }

// Equal compares all keys and values.
func (m *lazyMap) Equal(other ref.Val) ref.Val { return m.all().Equal(other) }

// Type is that of maps.
func (m *lazyMap) Type() ref.Type { return types.MapType }

// Value is the map as a Go value.
func (m *lazyMap) Value() any { return m.all().Value() }

// ConvertToType makes what CEL makes of a map.
func (m *lazyMap) ConvertToType(t ref.Type) ref.Val { return m.all().ConvertToType(t) }

// ConvertToNative makes what CEL makes of a map.
func (m *lazyMap) ConvertToNative(t reflect.Type) (any, error) { return m.all().ConvertToNative(t) }

// orderedMap is a map that an expression goes through in the order of its keys: Go's has none, and
// an expression must say the same of the same event every time.
type orderedMap struct {
	traits.Mapper
	entries map[string]any
}

// Iterator goes through the keys in their order.
func (m orderedMap) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, slices.Sorted(maps.Keys(m.entries))).Iterator()
}
