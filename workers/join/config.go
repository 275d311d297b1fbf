package join

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

// maxBranches is how many inputs a join has at most: sets of them are bits.
const maxBranches = 64

// settings are the config with what follows from it.
type settings struct {
	branches []string // names of the inputs, or of the two of a pair
	pairs    bool     // events of two types are joined
	expected uint64   // set of those that a barrier waits for
	deadline time.Duration
	horizon  time.Duration
	onTime   config.JoinTimeout
	merge    config.JoinMerge

	// The share of one lane.
	maxPending, maxBytes int
}

func newJoin(s stage.Settings) (*join, error) {
	set, err := settingsOf(s)
	if err != nil {
		return nil, fmt.Errorf("stage config: %w", err)
	}
	j := &join{
		settings: set, until: make([]int64, len(s.Config.Inputs)), waiting: make([]queue, len(set.branches)+1),
		all: strings.Join(set.branches, ","), whole: event.NewChecker(), open: map[string]*barrier{}, ended: map[string]int64{}, metrics: newMetrics(s.Metrics),
		format: state.Format{Version: stateVersion, Depends: fmt.Sprintf("%s lanes=%d key=%q %+v pairs=%+v", s.Config.Stage, s.Lanes, s.Config.Join.Key, set, s.Config.Join.Pairs)},
	}
	for _, name := range set.branches {
		j.tookOf = append(j.tookOf, attributePrefix+name+attributeTook)
	}
	for i := range j.waiting {
		j.waiting[i].branch, j.waiting[i].after = i, newestOf
	}
	j.held = &j.waiting[len(set.branches)]
	j.held.after = sinceOf
	if s.Config.Join.Key == "" {
		return j, nil
	}
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	if err := j.compilePairs(env, s.Config.Join.Pairs); err != nil {
		return nil, fmt.Errorf("stage config: %w", err)
	}
	key, err := cel.Compile[string](env, s.Config.Join.Key)
	if err != nil {
		return nil, fmt.Errorf("stage config: join.key: %w", err)
	}
	j.key = &key
	return j, nil
}

// compilePairs compiles the conditions of pairs, if there are some.
func (j *join) compilePairs(env *cel.Env, c *config.JoinPairs) (err error) {
	if c == nil {
		return nil
	}
	if j.types[0], err = env.Condition(c.First); err != nil {
		return fmt.Errorf("join.pairs.first: %w", err)
	}
	if j.types[1], err = env.Condition(c.Second); err != nil {
		return fmt.Errorf("join.pairs.second: %w", err)
	}
	return nil
}

func settingsOf(s stage.Settings) (settings, error) {
	c := s.Config.Join
	set := settings{deadline: c.Deadline.D(), horizon: c.Horizon(), onTime: c.OnTimeout, merge: c.Merge, maxPending: s.Share(c.MaxPending), maxBytes: s.Share(c.MaxBytes)}
	if set.pairs = c.Pairs != nil; set.pairs {
		set.branches, set.expected = []string{"first", "second"}, 1<<0|1<<1
		if c.Key == "" {
			return set, errors.New("join.key is empty: pairs have one")
		}
		return set, set.check(c)
	}
	for _, in := range s.Config.Inputs {
		set.branches = append(set.branches, config.BranchName(in.From))
	}
	for i, from := range c.Expect {
		at := slices.IndexFunc(s.Config.Inputs, func(in config.Input) bool { return in.From == from })
		if at < 0 {
			return set, fmt.Errorf("join.expect[%d]: %q is no input of the stage", i, from)
		}
		set.expected |= 1 << at
	}
	return set, set.check(c)
}

// check names what is wrong with the settings.
func (set settings) check(c *config.Join) error {
	switch n := len(set.branches); {
	case n < 2 || n > maxBranches:
		return fmt.Errorf("inputs: a join has 2 to %d, not %d", maxBranches, n)
	case set.expected == 0:
		return fmt.Errorf("join.expect is empty: name the inputs that a barrier waits for")
	case set.deadline < time.Second:
		return fmt.Errorf("join.deadline is %s: at least 1s", set.deadline)
	case set.onTime != config.JoinEmitPartial && set.onTime != config.JoinDeadLetter:
		return fmt.Errorf("join.onTimeout is %q: EmitPartial or DeadLetter", set.onTime)
	case set.merge != config.JoinMerged && set.merge != config.JoinCollect:
		return fmt.Errorf("join.merge is %q: Merge or Collect", set.merge)
	case set.maxPending < 1 || set.maxBytes < 1:
		return fmt.Errorf("join.maxPending is %d and join.maxBytes %d: at least 1", c.MaxPending, c.MaxBytes)
	}
	return nil
}
