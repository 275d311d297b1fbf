package celenv

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

// MaxCost is the estimated cost of one evaluation at most, in CEL cost units (about one
// comparison or ten bytes of text each). Compile refuses expressions that may cost more, so
// evaluation needs no cost tracking.
const MaxCost = 1_000_000

// The sizes of an event that costs are estimated with.
const (
	maxText    = 64 << 10 // bytes of a string
	maxEntries = 128      // entries of a map, elements of a list
)

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
		ext.Strings(ext.StringsVersion(4)),
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
	if strings.TrimSpace(expression) == "" {
		return nil, errors.New("is empty")
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, describe(issues)
	}
	if ast.OutputType() != cel.BoolType && ast.OutputType() != cel.DynType {
		return nil, fmt.Errorf("yields %s, must yield bool", cel.FormatCELType(ast.OutputType()))
	}
	cost, err := env.EstimateCost(ast, estimator{})
	if err != nil {
		return nil, fmt.Errorf("estimate the cost: %w", err)
	}
	if cost.Max > MaxCost {
		return nil, fmt.Errorf("may cost %d units an event, at most %d: nest fewer loops over maps and lists", cost.Max, MaxCost)
	}
	return ast, nil
}

// describe puts all issues into one line: cel-go draws pictures of many lines.
func describe(issues *cel.Issues) error {
	var all []string
	for _, e := range issues.Errors() {
		all = append(all, fmt.Sprintf("column %d: %s", e.Location.Column()+1, e.Message))
	}
	return errors.New(strings.Join(all, "; "))
}

// estimator bounds the sizes of an event.
type estimator struct{}

// EstimateSize implements checker.CostEstimator.
func (estimator) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	switch element.Type().Kind() {
	case types.StringKind, types.BytesKind:
		return &checker.SizeEstimate{Min: 0, Max: maxText}
	case types.MapKind, types.ListKind, types.DynKind:
		return &checker.SizeEstimate{Min: 0, Max: maxEntries}
	}
	return nil
}

// EstimateCallCost implements checker.CostEstimator.
func (estimator) EstimateCallCost(_, _ string, _ *checker.AstNode, _ []checker.AstNode) *checker.CallEstimate {
	return nil
}
