package cel

import (
	"slices"
	"strings"

	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"millrace.dev/millrace/workers/config/celenv"
	"millrace.dev/millrace/workers/event"
)

// Predicate is a condition as a Go function. It makes no value and cannot fail.
type Predicate func(e *event.Event) bool

// native turns a checked expression into a function that says the same, for the shape that
// most conditions have: fields of event and event.entity compared with literals, has(), startsWith(),
// endsWith(), contains() and in, joined by &&, || and !. It is nil for every other shape, which
// is left to CEL. Nothing in this shape can be an error, so the order of evaluation does not
// show. TestNativeSaysWhatCELSays and FuzzNative compare both.
func native(x celast.Expr) Predicate {
	switch x.Kind() {
	case celast.LiteralKind:
		if v, ok := x.AsLiteral().(types.Bool); ok {
			return func(*event.Event) bool { return bool(v) }
		}
	case celast.SelectKind:
		if s := x.AsSelect(); s.IsTestOnly() {
			return nativeHas(s)
		}
	case celast.CallKind:
		return nativeCall(x.AsCall())
	}
	return nil
}

func nativeCall(c celast.CallExpr) Predicate {
	args := c.Args()
	switch c.FunctionName() {
	case operators.LogicalNot:
		if p := native(args[0]); p != nil {
			return func(e *event.Event) bool { return !p(e) }
		}
	case operators.LogicalAnd:
		if p, q := native(args[0]), native(args[1]); p != nil && q != nil {
			return func(e *event.Event) bool { return p(e) && q(e) }
		}
	case operators.LogicalOr:
		if p, q := native(args[0]), native(args[1]); p != nil && q != nil {
			return func(e *event.Event) bool { return p(e) || q(e) }
		}
	case operators.In:
		return nativeIn(args[0], args[1])
	case "startsWith", "endsWith", "contains":
		if c.IsMemberFunction() && len(args) == 1 {
			return nativeMatch(c.FunctionName(), c.Target(), args[0])
		}
	default:
		if len(args) == 2 && !c.IsMemberFunction() {
			return nativeCompare(c.FunctionName(), args[0], args[1])
		}
	}
	return nil
}

// reader is a field and how to come from an event to the object that has it.
type reader struct {
	field
	target func(e *event.Event) any
}

// readerOf finds the field that x selects: event.NAME or event.entity.NAME.
func readerOf(x celast.Expr) (r reader, ok bool) {
	if x.Kind() != celast.SelectKind || x.AsSelect().IsTestOnly() {
		return r, false
	}
	return selected(x.AsSelect())
}

func selected(s celast.SelectExpr) (r reader, ok bool) {
	switch of := s.Operand(); {
	case of.Kind() == celast.IdentKind && of.AsIdent() == celenv.Variable:
		r.field, ok = fieldsOf(celenv.Event)[s.FieldName()]
		r.target = func(e *event.Event) any { return e }
	case of.Kind() == celast.SelectKind && !of.AsSelect().IsTestOnly():
		parent := of.AsSelect()
		if in := parent.Operand(); in.Kind() != celast.IdentKind || in.AsIdent() != celenv.Variable || parent.FieldName() != "entity" {
			return r, false
		}
		r.field, ok = fieldsOf(celenv.Entity)[s.FieldName()]
		r.target = func(e *event.Event) any { return &e.Entity }
	}
	return r, ok
}

func nativeHas(s celast.SelectExpr) Predicate {
	r, ok := selected(s)
	if !ok {
		return nil
	}
	return func(e *event.Event) bool { return r.set(r.target(e)) }
}

// nativeIn is for a text in a list of literals.
func nativeIn(x, list celast.Expr) Predicate {
	r, ok := readerOf(x)
	if !ok || r.text == nil || list.Kind() != celast.ListKind || len(list.AsList().OptionalIndices()) > 0 {
		return nil
	}
	var of []string
	for _, element := range list.AsList().Elements() {
		s, ok := literal[types.String](element)
		if !ok {
			return nil
		}
		of = append(of, string(s))
	}
	return func(e *event.Event) bool { return slices.Contains(of, r.text(r.target(e))) }
}

func nativeMatch(function string, x, with celast.Expr) Predicate {
	r, ok := readerOf(x)
	s, isText := literal[types.String](with)
	if !ok || !isText || r.text == nil {
		return nil
	}
	match := map[string]func(s, part string) bool{
		"startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix, "contains": strings.Contains,
	}[function]
	return func(e *event.Event) bool { return match(r.text(r.target(e)), string(s)) }
}

// mirrored are the comparisons with their sides exchanged.
var mirrored = map[string]string{
	operators.Equals: operators.Equals, operators.NotEquals: operators.NotEquals,
	operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals,
	operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals,
}

// nativeCompare is for a field and a literal of its own type, on either side.
func nativeCompare(operator string, left, right celast.Expr) Predicate {
	if left.Kind() == celast.LiteralKind {
		operator, left, right = mirrored[operator], right, left
	}
	r, ok := readerOf(left)
	if !ok {
		return nil
	}
	if s, ok := literal[types.String](right); ok && r.text != nil {
		return compared(operator, func(e *event.Event) string { return r.text(r.target(e)) }, string(s))
	}
	if n, ok := literal[types.Int](right); ok && r.number != nil {
		return compared(operator, func(e *event.Event) int64 { return r.number(r.target(e)) }, int64(n))
	}
	return nil
}

func compared[T string | int64](operator string, get func(e *event.Event) T, with T) Predicate {
	switch operator {
	case operators.Equals:
		return func(e *event.Event) bool { return get(e) == with }
	case operators.NotEquals:
		return func(e *event.Event) bool { return get(e) != with }
	case operators.Less:
		return func(e *event.Event) bool { return get(e) < with }
	case operators.LessEquals:
		return func(e *event.Event) bool { return get(e) <= with }
	case operators.Greater:
		return func(e *event.Event) bool { return get(e) > with }
	case operators.GreaterEquals:
		return func(e *event.Event) bool { return get(e) >= with }
	}
	return nil
}

func literal[T any](x celast.Expr) (v T, ok bool) {
	if x.Kind() != celast.LiteralKind {
		return v, false
	}
	v, ok = x.AsLiteral().(T)
	return v, ok
}
