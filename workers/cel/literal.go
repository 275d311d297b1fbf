package cel

import (
	"cmp"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// program makes the program of a checked expression. Maps that the expression makes have an order, as those of events have:
// a stage that replays its input must see the same lists again.
func (e *Env) program(ast *cel.Ast) (cel.Program, error) {
	return e.env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(inOrder))
}

// inOrder has a literal make an ordered map. cel-go gives no other way in: its adapter of types does not see these maps.
func inOrder(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	made, ok := i.(interpreter.InterpretableConstructor)
	if !ok || made.Type() != types.MapType {
		return i, nil
	}
	l := &mapLiteral{made}
	if !constant(made.InitVals()) {
		return l, nil
	}
	return interpreter.NewConstValue(l.ID(), l.Eval(interpreter.EmptyActivation())), nil
}

// constant says whether a literal of these keys and values can be made once. Bytes as a key cannot: cel-go panics, which it
// makes an error of during evaluation only.
func constant(values []interpreter.InterpretableV2) bool {
	return !slices.ContainsFunc(values, func(v interpreter.InterpretableV2) bool {
		c, ok := v.(interpreter.InterpretableConst)
		return !ok || c.Value().Type() == types.BytesType
	})
}

// mapLiteral makes a map.
type mapLiteral struct {
	interpreter.InterpretableConstructor
}

// Exec makes it.
func (l *mapLiteral) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	v := l.InterpretableConstructor.Exec(frame)
	if m, ok := v.(traits.Mapper); ok {
		return madeMap{m}
	}
	return v
}

// Eval is Exec for callers without a frame.
func (l *mapLiteral) Eval(a interpreter.Activation) ref.Val { return l.Exec(interpreter.AsFrame(a)) }

// madeMap is a map that an expression makes. Expressions go through it in the order of its keys.
type madeMap struct{ traits.Mapper }

// Iterator goes through the keys in their order.
func (m madeMap) Iterator() traits.Iterator {
	var keys []ref.Val
	for i := m.Mapper.Iterator(); i.HasNext() == types.True; {
		keys = append(keys, i.Next())
	}
	slices.SortFunc(keys, compareKeys)
	return types.NewRefValList(types.DefaultTypeAdapter, keys).Iterator()
}

// IsZeroValue implements traits.Zeroer, which a Mapper does not promise.
func (m madeMap) IsZeroValue() bool { return m.Size() == types.IntZero }

// compareKeys orders keys by type and value. Keys that CEL cannot compare, such as lists, have the order of their text.
func compareKeys(a, b ref.Val) int {
	if c := cmp.Compare(a.Type().TypeName(), b.Type().TypeName()); c != 0 {
		return c
	}
	if c, ok := a.(traits.Comparer); ok {
		if n, ok := c.Compare(b).(types.Int); ok {
			return int(n)
		}
	}
	return cmp.Compare(types.Format(a), types.Format(b))
}
