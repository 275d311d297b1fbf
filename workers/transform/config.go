package transform

import (
	"fmt"
	"slices"
	"sync"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

func newTransformer(c *config.Transform) (*transformer, error) {
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	t := &transformer{room: sync.Pool{New: func() any { return new([]event.Event) }}}
	if c.Key != "" {
		key, err := cel.Compile[string](env, c.Key)
		if err != nil {
			return nil, fmt.Errorf("transform.key: %w", err)
		}
		t.key = &key
	}
	for i := range c.Steps {
		where := fmt.Sprintf("transform.steps[%d]", i)
		if err := t.add(env, &c.Steps[i], where, i == len(c.Steps)-1); err != nil {
			return nil, fmt.Errorf("%s%w", where, err)
		}
	}
	return t, nil
}

// add compiles one step. An error begins with the member at fault.
func (t *transformer) add(env *cel.Env, c *config.TransformStep, where string, last bool) (err error) {
	set := []bool{c.Filter != "", c.Set != nil, len(c.Remove) > 0, c.Rename != nil, c.Redact != nil, c.Split != nil}
	if n := len(slices.DeleteFunc(set, func(is bool) bool { return !is })); n != 1 {
		return fmt.Errorf(": has %d of filter, set, remove, rename, redact and split, must have one", n)
	}
	s := step{where: where}
	if c.When != "" {
		when, err := env.Condition(c.When)
		if err != nil {
			return fmt.Errorf(".when: %w", err)
		}
		s.when = &when
	}
	switch {
	case c.Filter != "":
		s.where += ".filter"
		s.apply, err = newFilter(env, c.Filter)
	case c.Set != nil:
		s.where += ".set " + c.Set.Field
		s.apply, err = t.newSet(env, c.Set)
	case c.Rename != nil:
		s.where += ".rename " + c.Rename.From
		s.apply, err = newRename(c.Rename)
	case c.Redact != nil:
		s.where += ".redact"
		s.apply, err = newRedact(c.Redact)
	case c.Split != nil:
		if !last {
			return fmt.Errorf(".split: must be the last step")
		}
		t.split, err = newSplit(env, c.Split)
		if err == nil {
			t.split.when, t.split.where = s.when, where+".split"
		}
		return err
	default:
		s.where += ".remove"
		s.apply, err = t.newRemove(c.Remove)
	}
	t.steps = append(t.steps, s)
	return err
}
