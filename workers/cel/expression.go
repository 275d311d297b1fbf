package cel

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types/ref"

	"millrace.dev/millrace/workers/config/celenv"
	"millrace.dev/millrace/workers/event"
)

// Result is what a stage may have an expression yield. An event.Value is any scalar: a string, an int, a double, a bool,
// bytes, none for null, and a timestamp or a duration as its text. Lists and maps hold string, int64, float64, bool, []byte, nil,
// []any and map[string]any.
type Result interface {
	bool | string | int64 | float64 | event.Value | []any | map[string]any
}

// Expression is a compiled expression that yields a T for an event. It is safe for concurrent use.
type Expression[T Result] struct {
	text    string
	program cel.Program
	result  func(ref.Val) (T, error)
	field   func(e *event.Event) T // the one field that is the expression; nil = the program decides
	literal bool                   // the expression is a literal
}

// Compile compiles an expression that yields a T. It refuses what celenv.CompileFor refuses. Where the type is
// only known at run time (dyn), Of fails for an event that gives another one.
func Compile[T Result](e *Env, expression string) (Expression[T], error) {
	want, result := resultOf[T]()
	ast, err := celenv.CompileFor(e.env, expression, want)
	if err != nil {
		return Expression[T]{}, named(expression, err)
	}
	program, err := e.program(ast)
	if err != nil {
		return Expression[T]{}, named(expression, err)
	}
	x := ast.NativeRep().Expr()
	return Expression[T]{expression, program, result, fieldOf[T](x), x.Kind() == celast.LiteralKind}, nil
}

// Literal returns what an expression yields for every event; ok is false unless it is a literal.
func (x *Expression[T]) Literal() (v T, ok bool) {
	if !x.literal {
		return v, false
	}
	v, err := x.Of(&event.Event{})
	return v, err == nil
}

// Of returns what the expression yields for an event. Nothing of it shares memory with the event. It is an error when the
// expression cannot be evaluated, as when it asks for a key that a map does not have, or yields no T.
func (x *Expression[T]) Of(e *event.Event) (T, error) {
	if x.field != nil {
		return x.field(e), nil
	}
	var none T
	out, _, err := x.program.Eval(activation{e})
	if err != nil {
		return none, named(x.text, err)
	}
	result, err := x.result(out)
	if err != nil {
		return none, named(x.text, err)
	}
	return result, nil
}

// fieldOf returns the text or number of the event that x names, as a T; nil when it is anything else.
func fieldOf[T Result](x celast.Expr) func(e *event.Event) T {
	r, ok := readerOf(x)
	if !ok {
		return nil
	}
	var get any
	switch {
	case r.text != nil:
		get = func(e *event.Event) string { return strings.Clone(r.text(r.target(e))) }
	case r.number != nil:
		get = func(e *event.Event) int64 { return r.number(r.target(e)) }
	}
	field, _ := get.(func(e *event.Event) T)
	return field
}

// named says which expression an error is about.
func named(expression string, err error) error {
	return fmt.Errorf("expression %s: %w", expression, err)
}
