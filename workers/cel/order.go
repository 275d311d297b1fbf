package cel

import (
	"maps"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// ordered makes maps that an expression goes through in the order of their keys: Go's has none, and
// an expression must say the same of the same event every time.
type ordered struct{ types.Adapter }

// NativeToValue implements types.Adapter.
func (o ordered) NativeToValue(v any) ref.Val {
	if m, ok := v.(map[string]any); ok {
		return orderedMap{types.NewStringInterfaceMap(o, m), m}
	}
	return o.Adapter.NativeToValue(v)
}

type orderedMap struct {
	traits.Mapper
	entries map[string]any
}

// Iterator goes through the keys in their order.
func (m orderedMap) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, slices.Sorted(maps.Keys(m.entries))).Iterator()
}
