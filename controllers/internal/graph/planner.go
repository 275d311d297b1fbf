package graph

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	lru "github.com/hashicorp/golang-lru/v2"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
)

// plansKept bounds the plans that are remembered: more pipelines than that work too, and
// are planned anew at each look.
const plansKept = 4096

// Planner resolves pipelines and remembers the answers. A plan follows from the specs
// alone, so it holds as long as the generations do; computing it compiles the expressions
// of rules, which costs milliseconds, and the Pipeline controller asks for it at each look. Its methods may be called from any goroutine.
type Planner struct {
	defaults config.NATS
	env      *cel.Env
	known    *lru.Cache[types.UID, remembered]
}

type remembered struct {
	inputs, lanes string
	resolved      Resolved
}

// NewPlanner returns a planner; pipelines that name no NATS server get the URL and the JetStream domain of defaults.
func NewPlanner(defaults config.NATS) (*Planner, error) {
	known, err := lru.New[types.UID, remembered](plansKept)
	if err != nil {
		return nil, err
	}
	env, err := celenv.New()
	if err != nil {
		return nil, err
	}
	return &Planner{defaults: defaults, env: env, known: known}, nil
}

// Resolve plans a pipeline with as many attached stages as fit; lanes are those that the stages run in, by the name of the object.
// The answer is shared: it must not be changed.
func (p *Planner) Resolve(pipeline *v1alpha1.Pipeline, attached []v1alpha1.Stage, lanes map[string]int) Resolved {
	inputs, run := inputsOf(pipeline, attached), lanesIn(lanes)
	if r, ok := p.known.Get(pipeline.UID); ok && r.inputs == inputs && (r.lanes == run || r.resolved.has(pipeline.Name, lanes)) {
		return r.resolved
	}
	r := resolve(pipeline, attached, lanes, p.defaults, plan.NewExpressions(p.env))
	p.known.Add(pipeline.UID, remembered{inputs: inputs, lanes: run, resolved: r})
	return r
}

// has says whether a plan that refuses nothing gives the stages the lanes that they run in. It is then what planning with these gives, as when
// stages of a new entry have just begun to run.
func (r Resolved) has(pipeline string, lanes map[string]int) bool {
	if r.Plan == nil || len(r.Refused) > 0 {
		return false
	}
	return !slices.ContainsFunc(r.Plan.Stages, func(s plan.Stage) bool {
		was := lanes[cmp.Or(s.Object, plan.ChildName(pipeline, s.Name))]
		return was != 0 && s.Head == "" && was != s.Lanes
	})
}

// inputsOf names everything that a plan follows from, but for the lanes.
func inputsOf(pipeline *v1alpha1.Pipeline, attached []v1alpha1.Stage) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", pipeline.Generation)
	for _, s := range attached {
		fmt.Fprintf(&b, " %s:%d:%t", s.UID, s.Generation, s.DeletionTimestamp.IsZero())
	}
	return b.String()
}

func lanesIn(lanes map[string]int) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lanes)) {
		fmt.Fprintf(&b, " %s=%d", name, lanes[name])
	}
	return b.String()
}
