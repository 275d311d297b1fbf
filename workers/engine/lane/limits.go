package lane

import (
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
)

// Fallbacks for what a config leaves open.
const (
	defaultMaxEvents  = 512
	defaultMaxBytes   = 128 << 10
	defaultInFlight   = 32 << 20
	defaultAttempts   = 5
	defaultBackoff    = 100 * time.Millisecond
	defaultMaxBackoff = 30 * time.Second
	defaultDrain      = 30 * time.Second
)

// Limits are the bounds of the config with its gaps filled.
type Limits struct {
	chain.Limits
	MaxInFlightBytes int
	Linger, Drain    time.Duration

	spreads bool // a lane writes to all partitions
}

// LimitsOf are those of a stage.
func LimitsOf(c *config.StageConfig) Limits {
	l := Limits{
		Limits: chain.Limits{
			MaxEvents: c.Batch.MaxEvents, MaxBytes: c.Batch.MaxBytes, Attempts: c.Retry.MaxAttempts,
			Backoff: c.Retry.InitialBackoff.D(), MaxBackoff: c.Retry.MaxBackoff.D(),
		},
		MaxInFlightBytes: c.Batch.MaxInFlightBytes, Linger: c.Batch.Linger.D(), Drain: c.DrainTimeout.D(),
		spreads: c.Lanes == 1 || repartitions(c),
	}
	fallback(&l.MaxEvents, defaultMaxEvents)
	fallback(&l.MaxBytes, defaultMaxBytes)
	fallback(&l.MaxInFlightBytes, defaultInFlight)
	fallback(&l.Attempts, defaultAttempts)
	fallback(&l.Backoff, defaultBackoff)
	fallback(&l.MaxBackoff, defaultMaxBackoff)
	fallback(&l.Drain, defaultDrain)
	return l
}

// repartitions says whether a stage of the worker sends events to partitions of other lanes.
func repartitions(c *config.StageConfig) bool {
	for _, out := range c.Outputs {
		if out.Repartition {
			return true
		}
	}
	for i := range c.Chain {
		if repartitions(&c.Chain[i]) {
			return true
		}
	}
	return false
}

func fallback[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}
