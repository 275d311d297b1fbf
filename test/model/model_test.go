package model

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

var (
	seeds      = flag.Uint64("seeds", 200, "pipelines to try")
	onlySeed   = flag.Uint64("seed", 0, "this one alone")
	faultSeeds = flag.Uint64("fault-seeds", 1, "pipelines to run while workers and NATS are killed")
	length     = flag.Int("events", 300, "lines of input of each")
)

// TestRunsAsTheModelSays compares every port and every count of pipelines that are drawn by lot.
func TestRunsAsTheModelSays(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	first, last := uint64(1), *seeds
	if *onlySeed != 0 {
		first, last = *onlySeed, *onlySeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			lot := rand.New(rand.NewPCG(seed, 14))
			p := newPipeline(lot)
			check(t, binary, p, newInput(lot, *length))
		})
	}
}

// check fails the test where a pipeline differs from the model, and shows it as small as it fails.
func check(t *testing.T, binary string, p *pipeline, input []line) {
	t.Helper()
	if problem := try(t, binary, p, input); problem != "" {
		p, input, problem = shrink(t, binary, p, input, problem, maxTries)
		t.Errorf("%s\n%s\n%s", problem, p.manifest("/tmp"), texts(input))
	}
}

// try runs a pipeline and says how it differs from the model.
func try(t *testing.T, binary string, p *pipeline, input []line) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	real, err := p.runReal(ctx, binary, t.TempDir(), input)
	if err != nil {
		return err.Error()
	}
	model := p.run(input)
	p.keep(model)
	return strings.Join(differences(model, real), "\n")
}

// maxTries bounds the runs that make a failing case smaller.
const maxTries = 60

// shrink takes away stages and lines of the input as long as what is left fails, with so many runs (most) at most.
func shrink(t *testing.T, binary string, p *pipeline, input []line, problem string, most int) (*pipeline, []line, string) {
	t.Helper()
	tries := 0
	fails := func(p *pipeline, input []line) bool {
		if p == nil || len(input) == 0 || tries >= most {
			return false
		}
		tries++
		text := try(t, binary, p, input)
		if text != "" {
			problem = text
		}
		return text != ""
	}
	for again := true; again; {
		again = false
		for i := len(p.stages) - 1; i >= 0; i-- {
			if q := p.without(i); fails(q, input) {
				p, again = q, true
			}
		}
	}
	for part := len(input) / 2; part > 0; part /= 2 {
		for from := 0; from+part <= len(input); {
			if less := slices.Delete(slices.Clone(input), from, from+part); fails(p, less) {
				input = less
			} else {
				from += part
			}
		}
	}
	return p, input, problem
}

func texts(input []line) string {
	var all []string
	for _, l := range input {
		all = append(all, l.text)
	}
	return strings.Join(all, "\n")
}

// TestModelFindsFaults: a model that is wrong in one place differs from the real run, and the case that is shown is small.
func TestModelFindsFaults(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	lot := rand.New(rand.NewPCG(3, 3))
	p := newPipeline(lot)
	p.stages = p.stages[:min(3, len(p.stages))] // each try to make the case smaller is a run of its own
	wrong := &stage{name: "wrong", kind: "transform", from: []string{ingress}, ports: []string{"out"}}
	wrong.spec = map[string]any{"steps": []any{map[string]any{"filter": "event.severity != 7"}}}
	wrong.process = func(e *ev, _ int) result { return out(e) }
	p.stages = append(p.stages, wrong)
	input := newInput(lot, 80)
	problem := try(t, binary, p, input)
	if !strings.Contains(problem, "port wrong/out: missing") {
		t.Fatalf("the fault is not found: %s", problem)
	}
	if p, input, _ = shrink(t, binary, p, input, problem, 25); len(p.stages) > 2 || len(input) > 20 {
		t.Errorf("%d stages and %d events are left", len(p.stages), len(input))
	}
}
