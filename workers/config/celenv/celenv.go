package celenv

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

// MaxCost is the estimated cost of one evaluation at most, in CEL cost units (about one
// comparison or ten bytes of text each). Compile refuses expressions that may cost more, so
// evaluation needs no cost tracking.
const MaxCost = 1_000_000

// DearCost is the cost of one evaluation, of an event of ordinary size, from which a manifest is worth a warning.
const DearCost = 1000

// unitTime is how long a unit takes on one core of 2026 in two loops over maps (workers/cel, BenchmarkHolds); comparisons take less.
const unitTime = 160 * time.Nanosecond

// largest and ordinary are the sizes that costs are estimated with: bytes of a text, and entries of a map.
func largest() size  { return size{64 << 10, 128} }
func ordinary() size { return size{1 << 10, 16} }

// Each of these macros writes what it is called on several times, so that compiling takes four times as long
// for each one in another: 21 ms for 6, 5 s for 10.
const maxOptionalMacros = 4

var optionalMacro = regexp.MustCompile(`\bopt(Flat)?Map\b`)

// traversal is the cost of a byte of text.
const traversal = common.StringTraversalCostFactor

// New returns the environment for checking. Its programs cannot read events; see NewBound.
func New() (*cel.Env, error) { return newEnv(nil) }

// NewBound returns the environment for checking and running: cel.Env.Program with the
// variable event set to the binding's own value.
func NewBound(b Binding) (*cel.Env, error) { return newEnv(b) }

func newEnv(b Binding) (*cel.Env, error) {
	base, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("make the types of expressions: %w", err)
	}
	var adapter types.Adapter = base
	if b != nil {
		adapter = b.Adapter(base)
	}
	if err := base.RegisterType(types.OptionalType); err != nil {
		return nil, fmt.Errorf("make the types of expressions: %w", err)
	}
	env, err := cel.NewEnv(
		cel.Variable(Variable, cel.ObjectType(Event)),
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true),
		ext.Strings(ext.StringsVersion(4), ext.StringsMaxPrecision(100)),
		// Last: the libraries above register their types with a registry, not with ours.
		cel.CustomTypeAdapter(adapter),
		cel.CustomTypeProvider(newProvider(base, b)),
	)
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	return env, nil
}

// Compile parses and checks an expression, which must yield a bool at a cost of MaxCost at
// most. Errors say where and what in one line.
func Compile(env *cel.Env, expression string) (*cel.Ast, error) {
	return CompileFor(env, expression, Bool)
}

// checked parses and checks an expression of any type.
func checked(env *cel.Env, expression string) (*cel.Ast, error) {
	if strings.TrimSpace(expression) == "" {
		return nil, errors.New("is empty")
	}
	if n := len(optionalMacro.FindAllString(expression, maxOptionalMacros+1)); n > maxOptionalMacros {
		return nil, fmt.Errorf("has more than %d optMap and optFlatMap, which would take long to compile: use orValue or has", maxOptionalMacros)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, describe(issues)
	}
	if err := literalsOnly(ast); err != nil {
		return nil, err
	}
	return ast, nil
}

// literalsOnly refuses the messages of JSON: their maps have no order, so an expression would not say the same of the same event
// every time.
func literalsOnly(ast *cel.Ast) (err error) {
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(x celast.Expr) {
		if err != nil || x.Kind() != celast.StructKind {
			return
		}
		switch name := x.AsStruct().TypeName(); name {
		case "google.protobuf.Any", "google.protobuf.ListValue", "google.protobuf.Struct", "google.protobuf.Value":
			err = fmt.Errorf("makes a %s: write a literal, such as {'key': 1} or [1]", name)
		}
	}))
	return err
}

// affordable refuses an expression that may cost more than MaxCost.
func affordable(env *cel.Env, ast *cel.Ast) error {
	cost, err := costOf(env, ast, largest())
	if err != nil {
		return err
	}
	if cost > MaxCost {
		return fmt.Errorf("may cost %d units an event, at most %d: nest fewer loops over maps and lists, and search, replace and join with literals", cost, MaxCost)
	}
	return nil
}

// Dear says how long one evaluation of a checked expression may take, of an event with texts of 1 KiB and 16 attributes; empty where that
// is less than DearCost.
func Dear(env *cel.Env, ast *cel.Ast) string {
	cost, err := costOf(env, ast, ordinary())
	if err != nil || cost <= DearCost {
		return ""
	}
	return fmt.Sprintf("may take %s an event (%d units, more than %d): nest fewer loops, or name the attributes that you look for",
		(time.Duration(min(cost, MaxCost)) * unitTime).Round(10*time.Microsecond), cost, DearCost)
}

// costOf is what one evaluation costs at most, in units, of an event of some size.
func costOf(env *cel.Env, ast *cel.Ast, event size) (uint64, error) {
	s := measure(ast, event)
	cost, err := env.EstimateCost(ast, estimator{s})
	if err != nil {
		return 0, fmt.Errorf("estimate the cost: %w", err)
	}
	return max(cost.Max, units(s.made())), nil
}

// describe puts all issues into one line: cel-go draws pictures of many lines.
func describe(issues *cel.Issues) error {
	var all []string
	for _, e := range issues.Errors() {
		all = append(all, fmt.Sprintf("column %d: %s", e.Location.Column()+1, e.Message))
	}
	return errors.New(strings.Join(all, "; "))
}

// estimator bounds the sizes of an event, and of what is made of it.
type estimator struct{ sizes *sizes }

// EstimateSize implements checker.CostEstimator.
func (e estimator) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	switch element.Type().Kind() {
	case types.StringKind, types.BytesKind:
		return &checker.SizeEstimate{Min: 0, Max: units(e.sizes.of[element.Expr().ID()].text)}
	case types.MapKind, types.ListKind, types.DynKind:
		return &checker.SizeEstimate{Min: 0, Max: units(e.sizes.event.count)}
	}
	return nil
}

// EstimateCallCost implements checker.CostEstimator, for functions that cel-go takes for cheap.
func (e estimator) EstimateCallCost(function, _ string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	if target == nil {
		return nil
	}
	operands := []celast.Expr{(*target).Expr()}
	for _, a := range args {
		operands = append(operands, a.Expr())
	}
	switch function {
	case "indexOf", "lastIndexOf": // as cel-go does for contains
		of := func(i int) float64 { return math.Ceil(traversal * e.sizes.of[operands[i].ID()].text) }
		return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Max: units(of(0) * of(1))}}
	default:
		text, ok := e.sizes.makes(function, operands)
		if !ok {
			return nil
		}
		return &checker.CallEstimate{
			CostEstimate: checker.CostEstimate{Max: units(math.Ceil(traversal * text))}, ResultSize: &checker.SizeEstimate{Max: units(text)},
		}
	}
}
