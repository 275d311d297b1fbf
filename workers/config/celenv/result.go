package celenv

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
)

// Result is the type that an expression must yield.
type Result uint8

// The results. An expression whose type is only known when it runs (dyn), such as the value of an attribute, compiles for
// any of them.
const (
	Bool Result = iota
	String
	Int
	// Double is a double or an int: whether 12.0 of a sender came as 12 says nothing.
	Double
	// Scalar is what an attribute holds: a string, an int, a double, a bool, bytes or null. A timestamp or a duration
	// is one by its text.
	Scalar
	// List is a list of scalars, lists and maps.
	List
	// Map is a map with texts for keys.
	Map
)

// String is the name of the result, as errors say it.
func (r Result) String() string {
	return [...]string{"bool", "string", "int", "double", "a scalar", "list", "map"}[r]
}

// accepts says whether an expression of type t can yield the result.
func (r Result) accepts(t *cel.Type) bool {
	switch kind := t.Kind(); kind {
	case types.DynKind, types.AnyKind:
		return true
	case types.BoolKind:
		return r == Bool || r == Scalar
	case types.StringKind:
		return r == String || r == Scalar
	case types.IntKind:
		return r == Int || r == Double || r == Scalar
	case types.DoubleKind:
		return r == Double || r == Scalar
	case types.BytesKind, types.NullTypeKind, types.TimestampKind, types.DurationKind:
		return r == Scalar
	case types.ListKind:
		return r == List && travels(t)
	case types.MapKind:
		return r == Map && travels(t)
	}
	return false
}

// travels says whether a value of type t, or a part of one, can outlive the event that it was read from.
func travels(t *cel.Type) bool {
	switch t.Kind() {
	case types.ListKind:
		return travels(t.Parameters()[0])
	case types.MapKind:
		key := t.Parameters()[0]
		return (String.accepts(key) || key.Kind() == types.TypeParamKind) && travels(t.Parameters()[1])
	case types.TypeParamKind: // of an empty list
		return true
	}
	return Scalar.accepts(t)
}

// CompileFor is Compile for an expression that must yield another result.
func CompileFor(env *cel.Env, expression string, want Result) (*cel.Ast, error) {
	ast, err := checked(env, expression)
	if err != nil {
		return nil, err
	}
	if !want.accepts(ast.OutputType()) {
		return nil, fmt.Errorf("yields %s, must yield %s", cel.FormatCELType(ast.OutputType()), want)
	}
	if err := affordable(env, ast); err != nil {
		return nil, err
	}
	return ast, nil
}
