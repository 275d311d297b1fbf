package jetstream

import (
	"time"

	"github.com/nats-io/jsm.go/api"

	"millrace.dev/millrace/controllers/plan"
)

// leasesMaxBytes is far above what the keys of a pipeline take; accounts may demand a limit.
const leasesMaxBytes = 16 << 20

// overlayLeases lays over a configuration what makes a stream the KV bucket of the leases, as
// every NATS client knows it: the newest value of each key.
func overlayLeases(c api.StreamConfig, want plan.Leases, owner Owner) api.StreamConfig {
	c = overlayStream(c, plan.Stream{
		Name: want.Stream(), Subjects: []string{want.Subject()}, Memory: want.Memory, Replicas: want.Replicas,
		MaxBytes: leasesMaxBytes, DuplicateWindow: 2 * time.Minute,
	}, owner)
	c.MaxMsgsPer = 1
	c.MaxMsgSize = plan.LeasesMaxValueBytes
	c.RollupAllowed = true
	c.DenyDelete = true
	c.AllowAtomicPublish = false
	return c
}

// CompareLeases says what has to be done so that the bucket is as wanted; have is nil when
// its stream does not exist.
func CompareLeases(want plan.Leases, owner Owner, have *Stream) StreamChange {
	change := compare(want.Stream(), owner, have, func(c api.StreamConfig) api.StreamConfig { return overlayLeases(c, want, owner) })
	change.Bucket = "leases"
	return change
}

// A lane has two snapshots there, of some MiB each where it has much state. What finds no room is not kept.
const (
	statesMaxBytes       = 256 << 20
	statesMaxMemoryBytes = 64 << 20
)

// CompareStates is CompareLeases for the bucket of snapshots.
func CompareStates(want plan.States, owner Owner, have *Stream) StreamChange {
	size := int64(statesMaxBytes)
	if want.Memory {
		size = statesMaxMemoryBytes
	}
	change := compare(want.Stream(), owner, have, func(c api.StreamConfig) api.StreamConfig {
		c = overlayStream(c, plan.Stream{
			Name: want.Stream(), Subjects: []string{want.Subject()}, Memory: want.Memory, Replicas: want.Replicas,
			MaxBytes: size, MaxAge: plan.StatesMaxAge, DuplicateWindow: 2 * time.Minute,
		}, owner)
		c.MaxMsgsPer = 1
		c.RollupAllowed = true
		c.DenyDelete = true
		c.AllowAtomicPublish = false
		return c
	})
	change.Bucket, change.Optional = "snapshots", true
	return change
}
