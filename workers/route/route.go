package route

import (
	"context"
	"fmt"

	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// reasonError is the reason of dead letters.
const reasonError = "rule_error"

type router struct {
	rules []rule
	all   bool
	// rest is where events go that no rule takes; empty = nowhere.
	rest stage.Ports
}

// rule is compiled. It is safe for concurrent use.
type rule struct {
	condition cel.Condition
	port      stage.Ports
	// below is what the hash of a key is less than in the share that the rule takes; 0 = it takes all keys. The hash is seeded by the port.
	below, seed uint64
	name, text  string
}

// Reload returns a stage with the rules of c.
func (*router) Reload(c *config.StageConfig) (stage.Stage, error) {
	r, err := newRouter(stage.Settings{Config: c})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Start has nothing to wait for.
func (*router) Start(context.Context) error { return nil }

// Shutdown holds nothing.
func (*router) Shutdown(context.Context) error { return nil }

// Process decides about every event of b.
func (r *router) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		ports, err := r.ports(&b.Events[i])
		switch {
		case err != nil:
			b.DeadLetter(i, reasonError, err)
		case ports != 0:
			b.Emit(i, ports)
		case r.rest != 0:
			b.Emit(i, r.rest)
		default:
			b.Filter(i)
		}
	}
	return nil
}

// ports are those of the rules that take e.
func (r *router) ports(e *event.Event) (ports stage.Ports, err error) {
	for i := range r.rules {
		rule := &r.rules[i]
		if r.all && ports&rule.port != 0 {
			continue
		}
		takes, err := rule.takes(e)
		if err != nil {
			return 0, fmt.Errorf("rule %d (port %s) cannot be evaluated on this event: %w (%s)", i, rule.name, err, rule.text)
		}
		if takes {
			ports |= rule.port
			if !r.all {
				break
			}
		}
	}
	return ports, nil
}

// takes says whether the rule takes e.
func (r *rule) takes(e *event.Event) (bool, error) {
	if r.below > 0 && xxh3.HashStringSeed(e.Key(), r.seed) >= r.below {
		return false, nil
	}
	return r.condition.Holds(e)
}
