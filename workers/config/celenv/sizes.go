package celenv

import (
	"math"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// size bounds what a value takes.
type size struct {
	text  float64 // bytes of the longest text in it
	count float64 // entries of the longest map or list in it
}

// short is enough for the text of anything that is not made of texts.
const short = 64

func (s size) or(t size) size { return size{max(s.text, t.text), max(s.count, t.count)} }

// sizes are those of all parts of an expression. cel-go knows what + makes, but not what the functions
// of the strings extension do, nor what a variable of a loop stands for: there, text that is made of
// text could double at each step.
type sizes struct {
	ast   *celast.AST
	event size           // of what an event holds
	of    map[int64]size // by the id of the part
	scope map[string]size
}

func measure(ast *cel.Ast, event size) *sizes {
	s := &sizes{ast: ast.NativeRep(), event: event, of: map[int64]size{}, scope: map[string]size{}}
	s.measure(s.ast.Expr())
	return s
}

// made is the cost of the largest text or list that the expression makes.
func (s *sizes) made() (cost float64) {
	for _, one := range s.of {
		cost = max(cost, traversal*one.text, one.count)
	}
	return cost
}

func (s *sizes) measure(x celast.Expr) size {
	out := s.measured(x)
	switch s.ast.GetType(x.ID()).Kind() {
	case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.TimestampKind, types.DurationKind:
		out = size{text: short}
	}
	s.of[x.ID()] = out
	return out
}

func (s *sizes) measured(x celast.Expr) (out size) {
	switch x.Kind() {
	case celast.LiteralKind:
		return size{text: literalText(x)}
	case celast.IdentKind:
		if local, ok := s.scope[x.AsIdent()]; ok {
			return local
		}
		return s.event
	case celast.SelectKind:
		return s.measure(x.AsSelect().Operand())
	case celast.CallKind:
		return s.call(x.AsCall())
	case celast.ListKind:
		out.count = float64(x.AsList().Size())
		for _, element := range x.AsList().Elements() {
			out = out.or(s.measure(element))
		}
	case celast.MapKind:
		out.count = float64(x.AsMap().Size())
		for _, e := range x.AsMap().Entries() {
			out = out.or(s.measure(e.AsMapEntry().Key())).or(s.measure(e.AsMapEntry().Value()))
		}
	case celast.StructKind:
		for _, f := range x.AsStruct().Fields() {
			out = out.or(s.measure(f.AsStructField().Value()))
		}
	case celast.ComprehensionKind:
		return s.loop(x.AsComprehension())
	}
	return out
}

// loop is for the macros, which add one element a step at most.
func (s *sizes) loop(l celast.ComprehensionExpr) size {
	through := s.measure(l.IterRange())
	for _, name := range []string{l.IterVar(), l.IterVar2()} {
		defer s.declare(name, through)()
	}
	result := s.measure(l.AccuInit())
	defer s.declare(l.AccuVar(), result)()
	s.measure(l.LoopCondition())
	result = result.or(s.measure(l.LoopStep()))
	result.count = max(result.count, through.count)
	s.scope[l.AccuVar()] = result
	return s.measure(l.Result())
}

func (s *sizes) declare(name string, of size) (end func()) {
	outer, ok := s.scope[name]
	s.scope[name] = of
	return func() {
		if delete(s.scope, name); ok {
			s.scope[name] = outer
		}
	}
}

func (s *sizes) call(c celast.CallExpr) (out size) {
	operands := c.Args()
	if c.IsMemberFunction() {
		operands = append([]celast.Expr{c.Target()}, operands...)
	}
	var sum size
	for _, x := range operands {
		one := s.measure(x)
		out, sum = out.or(one), size{sum.text + one.text, sum.count + one.count}
	}
	switch text, ok := s.makes(c.FunctionName(), operands); {
	case ok:
		return size{text: text}
	case c.FunctionName() == operators.Add:
		return sum
	case c.FunctionName() == "split":
		out.count = out.text + 1
	}
	return out.or(size{text: short}) // others take from what they are given
}

// makes bounds the text that a function makes, if it makes more than it is given.
func (s *sizes) makes(function string, operands []celast.Expr) (text float64, ok bool) {
	of := func(i int) size { return s.of[operands[i].ID()] }
	switch n := len(operands); {
	case function == "replace" && n >= 3:
		times, per := of(0).text+1, of(2).text
		if old, ok := operands[1].AsLiteral().(types.String); ok && old != "" {
			times, per = of(0).text/float64(len(old)), max(0, per-float64(len(old)))
		}
		if n > 3 {
			if most, ok := operands[3].AsLiteral().(types.Int); ok && most >= 0 {
				times = min(times, float64(most))
			}
		}
		return of(0).text + times*per, true
	case function == "join" && n == 1:
		return of(0).count * of(0).text, true
	case function == "join" && n == 2:
		return of(0).count * (of(0).text + of(1).text), true
	case function == "format" && n == 2:
		return of(0).text + s.formatted(operands[1]), true
	case function == "strings.quote" && n == 1:
		return 2*of(0).text + 2, true
	}
	return 0, false
}

// formatted bounds the text of the values that format writes.
func (s *sizes) formatted(list celast.Expr) (text float64) {
	const number = 512 // the digits of a double and those behind its point, see newEnv
	if list.Kind() != celast.ListKind {
		of := s.of[list.ID()]
		return of.count * (2*of.text + number)
	}
	for _, x := range list.AsList().Elements() {
		switch of := s.of[x.ID()]; s.ast.GetType(x.ID()).Kind() {
		case types.ListKind, types.MapKind:
			text += of.count * of.text
		default:
			text += 2*of.text + number // in hexadecimal
		}
	}
	return text
}

func literalText(x celast.Expr) float64 {
	switch v := x.AsLiteral().(type) {
	case types.String:
		return float64(len(v))
	case types.Bytes:
		return float64(len(v))
	}
	return short
}

// units makes a number of costs or sizes of a bound.
func units(bound float64) uint64 { return uint64(min(bound, math.MaxInt64/2)) }
