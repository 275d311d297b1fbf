package experiment

import (
	"context"
	"fmt"
	"math"

	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// reasonKey is the reason of dead letters.
const reasonKey = "key_error"

// experiment is safe for concurrent use.
type experiment struct {
	mirror   bool
	key      *cel.Expression[string] // nil = the key of the event
	variants []variant               // whose weight is not 0
	all      stage.Ports
	// attribute has the variant.
	attribute string
}

type variant struct {
	port   stage.Ports
	name   event.Value
	weight float64
	seed   uint64
}

// Reload returns a stage with the key, the mode and the weights of c.
func (*experiment) Reload(c *config.StageConfig) (stage.Stage, error) {
	e, err := newExperiment(stage.Settings{Config: c})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Start has nothing to wait for.
func (*experiment) Start(context.Context) error { return nil }

// Shutdown holds nothing.
func (*experiment) Shutdown(context.Context) error { return nil }

// Process sends every event of b to its variant, or to all.
func (x *experiment) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		if x.mirror {
			b.Emit(i, x.all)
			continue
		}
		e := &b.Events[i]
		key, err := x.keyOf(e)
		if err != nil {
			b.DeadLetter(i, reasonKey, fmt.Errorf("experiment.key: %w", err))
			continue
		}
		v := x.choose(key)
		e.Set(event.AttributesMap, x.attribute, v.name)
		b.Emit(i, v.port)
	}
	return nil
}

func (x *experiment) keyOf(e *event.Event) (string, error) {
	if x.key == nil {
		return e.Key(), nil
	}
	return x.key.Of(e)
}

// choose returns the variant of a key.
func (x *experiment) choose(key string) *variant {
	best, most := &x.variants[0], 0.0
	if len(x.variants) == 1 {
		return best
	}
	for i := range x.variants {
		v := &x.variants[i]
		if score := v.weight / -math.Log(unit(xxh3.HashStringSeed(key, v.seed))); score > most {
			best, most = v, score
		}
	}
	return best
}

// unit maps a hash to (0, 1): its upper 53 bits, and half of the last one.
func unit(hash uint64) float64 { return (float64(hash>>11) + 0.5) / (1 << 53) }
