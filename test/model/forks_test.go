package model

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"millrace.dev/millrace/test/harness"
)

var (
	forkSeeds = flag.Uint64("fork-seeds", 4, "pipelines with a fork and a join to try")
	onlyFork  = flag.Uint64("fork", 0, "this one alone")
)

// drawFork draws a pipeline with a fork, and its input.
func drawFork(seed uint64) (*pipeline, []line) {
	lot := rand.New(rand.NewPCG(seed, 16))
	p := newFork(lot)
	return p, once(newInput(lot, *length))
}

// TestForksComeTogether: whatever the branches of a fork do with events, a join makes one result of each event that some branch answers, which says who
// has answered and who had nothing to say, and no barrier waits for its deadline.
func TestForksComeTogether(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	first, last := uint64(1), *forkSeeds
	if *onlyFork != 0 {
		first, last = *onlyFork, *onlyFork
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p, input := drawFork(seed)
			check(t, binary, p, input)
		})
	}
}

// TestForksAreForks: the pipelines that are drawn show all that a join may do.
func TestForksAreForks(t *testing.T) {
	shows := map[string]int{}
	for seed := uint64(1); seed <= 300; seed++ {
		p, input := drawFork(seed)
		o := p.run(input)
		joins := 0
		for _, s := range p.stages {
			if s.kind != "join" {
				continue
			}
			if joins++; joins > 1 {
				shows["a join behind a join"]++
			}
			for _, e := range o.ports[s.name+"/out"] {
				shows["a result that is "+fmt.Sprint(e.attributes["join.result"])]++
				for _, why := range []string{"conflicts", "silent"} {
					if e.attributes["join."+why] != nil {
						shows["a result with "+why]++
					}
				}
				if n := strings.Count(fmt.Sprint(e.attributes["join.answered"]), ","); n > 1 {
					shows["answers of three branches"]++
				}
				if len(e.answers) > 1 {
					shows["a list of answers"]++
				}
			}
		}
		if joins == 0 {
			t.Errorf("seed %d has no join", seed)
		}
	}
	for what, want := range map[string]int{
		"a join behind a join": 50, "a result that is complete": 1000, "a result that is silent": 1000, "a result with conflicts": 500, "a result with silent": 1000,
		"answers of three branches": 500, "a list of answers": 500,
	} {
		if shows[what] < want {
			t.Errorf("%s: %d times, want %d at least", what, shows[what], want)
		}
	}
}
