package plan

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// The defaults of what a manifest leaves out and a release may change; v1alpha1 has those that it may not.
const (
	DefaultMaxAge          = 24 * time.Hour
	DefaultMaxBytes        = 10 << 30
	DefaultDuplicateWindow = 2 * time.Minute
	DefaultDrainTimeout    = 30 * time.Second
)

// Consumers are bounded by these; a manifest does not set them.
const (
	// DefaultAckWait is how long a silent worker keeps a message before it is delivered again.
	// A takeover does not wait for it.
	DefaultAckWait = 5 * time.Minute
	// StatesMaxAge is how long a snapshot of the state of a lane is kept. That of a lane without input is not renewed.
	StatesMaxAge = 24 * time.Hour
	// LeasesMaxValueBytes bounds the value of one key of the bucket of leases.
	LeasesMaxValueBytes = 64 << 10
	// FrameMaxAckPending bounds the frames of a lane in the hands of its worker.
	FrameMaxAckPending = 512
	// EventMaxAckPending bounds messages of one event each: at the ingress, dead letters and
	// insights. Workers bound their own share by bytes.
	EventMaxAckPending = 16384
)

// defaultBatch packs frames of 4096 events or 768 KiB, whichever comes first, and waits 5 ms
// for more. At most 256 frames wait for their PubAck: a larger window starves the consumers
// of the same stream.
func defaultBatch() config.Batch {
	return config.Batch{
		MaxEvents: 4096, MaxBytes: 768 << 10, Linger: config.Duration(5 * time.Millisecond),
		MaxInFlightBytes: 16 << 20,
	}
}

// or returns v, or fallback when v is the zero value.
func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func duration(d *metav1.Duration, fallback time.Duration) config.Duration {
	if d == nil {
		return config.Duration(fallback)
	}
	return config.Duration(d.Duration)
}

func retry(r *v1alpha1.RetrySpec) config.Retry {
	if r == nil {
		r = &v1alpha1.RetrySpec{}
	}
	return config.Retry{
		MaxAttempts:    int(or(r.MaxAttempts, 5)),
		InitialBackoff: duration(r.InitialBackoff, v1alpha1.DefaultInitialBackoff),
		MaxBackoff:     duration(r.MaxBackoff, v1alpha1.DefaultMaxBackoff),
	}
}
