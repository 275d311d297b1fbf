package jetstream

import (
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// StreamChange is what has to be done to one stream.
type StreamChange struct {
	Name   string
	Action Action
	// Fields differ, for ActionUpdate and ActionImmutable.
	Fields Fields
	// Owner says whose the stream is, for ActionNotOwned.
	Owner string
	// Config to send, for ActionCreate and ActionUpdate.
	Config api.StreamConfig
	// Adopted: the stream was left behind by an earlier Pipeline of the same name.
	Adopted bool
	// Bucket says what for the stream is a bucket: leases, snapshots. No manifest names it then. Empty = it is none.
	Bucket string
	// Optional: the pipeline works without it.
	Optional bool
}

// StreamConfig is the configuration of a new stream: Limits retention, so that data stays
// for replay and a fence on the last message of a subject holds; DiscardNew, so that a
// full stream pushes back instead of losing what nobody has read; direct access, so that a
// worker reads many messages in one request; atomic publish, so that it stores several all
// or none.
func StreamConfig(want plan.Stream, owner Owner) api.StreamConfig {
	return overlayStream(api.StreamConfig{}, want, owner)
}

// overlayStream lays what is wanted over a configuration. Fields that are not named here
// (placement, compression, republish, description, further metadata) are the user's.
func overlayStream(c api.StreamConfig, want plan.Stream, owner Owner) api.StreamConfig {
	c.Name = want.Name
	c.Subjects = slices.Clone(want.Subjects)
	c.Retention = api.LimitsPolicy
	c.Storage = storage(want.Memory)
	c.Discard = api.DiscardNew
	c.DiscardNewPer = false
	c.Replicas = want.Replicas
	c.MaxAge = want.MaxAge
	c.MaxBytes = want.MaxBytes
	c.MaxMsgs = -1
	c.MaxMsgsPer = -1
	c.MaxMsgSize = -1
	c.MaxConsumers = -1
	c.Duplicates = want.DuplicateWindow
	c.NoAck = false
	c.AllowDirect = true
	c.AllowAtomicPublish = true
	c.ConsumerLimits = api.StreamConsumerLimits{}
	switch t := want.Transform; {
	case t != (plan.Transform{}):
		c.SubjectTransform = &api.SubjectTransformConfig{Source: t.Source, Destination: t.Destination}
	case config.GivesPartitions(transform(c).Destination): // any other one is the user's
		c.SubjectTransform = nil
	}
	graph := c.Metadata[plan.MetadataGraph]
	c.Metadata = owner.merge(c.Metadata)
	switch {
	case want.Graph == "":
		delete(c.Metadata, plan.MetadataGraph)
	case !plan.SameGraph(graph, want.Graph):
		c.Metadata[plan.MetadataGraph] = want.Graph
	}
	return c
}

// CompareStream says what has to be done so that the stream is as wanted; have is nil when
// it does not exist.
func CompareStream(want plan.Stream, owner Owner, have *Stream) StreamChange {
	return compare(want.Name, owner, have, func(c api.StreamConfig) api.StreamConfig { return overlayStream(c, want, owner) })
}

func compare(name string, owner Owner, have *Stream, overlay func(api.StreamConfig) api.StreamConfig) StreamChange {
	change := StreamChange{Name: name}
	if have == nil {
		change.Action, change.Config = ActionCreate, overlay(api.StreamConfig{})
		return change
	}
	if !owner.Owns(have.Config.Metadata) {
		change.Action, change.Owner = ActionNotOwned, describeOwner(have.Config.Metadata)
		return change
	}
	change.Config = overlay(have.Config)
	change.Adopted = have.Config.Metadata[MetadataOwnerUID] != owner.UID
	change.Action, change.Fields = diffStream(have.Config, change.Config, change.Adopted && have.State.Msgs > 0)
	return change
}

// diffStream compares two configs. What an adopted stream holds is stored under the subjects of its former pipeline: with
// other partitions nobody would read it.
func diffStream(have, want api.StreamConfig, adopted bool) (Action, Fields) {
	var d differ
	d.fixed("storage", have.Storage.String(), want.Storage.String())
	d.fixed("sealed", have.Sealed, false)
	d.fixed("mirror", have.Mirror != nil, false)
	d.fixed("persist_mode", persistMode(have), "default")
	d.fixed("allow_msg_counter", have.AllowMsgCounter, false)
	if have.Retention == api.WorkQueuePolicy {
		d.fixed("retention", have.Retention.String(), want.Retention.String())
	} else {
		d.change("retention", have.Retention.String(), want.Retention.String())
	}
	d.change("subjects", sorted(have.Subjects), sorted(want.Subjects))
	d.change("discard", have.Discard.String(), want.Discard.String())
	d.change("discard_new_per_subject", have.DiscardNewPer, want.DiscardNewPer)
	d.change("num_replicas", have.Replicas, want.Replicas)
	d.change("max_age", have.MaxAge, want.MaxAge)
	d.change("max_bytes", have.MaxBytes, want.MaxBytes)
	d.change("max_msgs", have.MaxMsgs, want.MaxMsgs)
	d.change("max_msgs_per_subject", have.MaxMsgsPer, want.MaxMsgsPer)
	d.change("max_msg_size", have.MaxMsgSize, want.MaxMsgSize)
	d.change("max_consumers", have.MaxConsumers, want.MaxConsumers)
	d.change("duplicate_window", have.Duplicates, want.Duplicates)
	d.change("no_ack", have.NoAck, want.NoAck)
	d.change("allow_direct", have.AllowDirect, want.AllowDirect)
	d.change("allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish)
	d.change("allow_rollup_hdrs", have.RollupAllowed, want.RollupAllowed)
	d.change("deny_delete", have.DenyDelete, want.DenyDelete)
	d.change("consumer_limits", have.ConsumerLimits, want.ConsumerLimits)
	if adopted {
		d.fixed("subject_transform", transform(have), transform(want))
	} else {
		d.change("subject_transform", transform(have), transform(want))
	}
	if have.Metadata[plan.MetadataGraph] != want.Metadata[plan.MetadataGraph] {
		d.change("graph", recordedGraph(have.Metadata), recordedGraph(want.Metadata))
	} else if !maps.Equal(jsm.FilterServerMetadata(have.Metadata), want.Metadata) {
		d.change("metadata", have.Metadata[MetadataOwnerUID], want.Metadata[MetadataOwnerUID])
	}
	return d.decide()
}

func transform(c api.StreamConfig) api.SubjectTransformConfig {
	if c.SubjectTransform == nil {
		return api.SubjectTransformConfig{}
	}
	return *c.SubjectTransform
}

func storage(memory bool) api.StorageType {
	if memory {
		return api.MemoryStorage
	}
	return api.FileStorage
}

func persistMode(c api.StreamConfig) string {
	if c.PersistMode == api.AsyncPersistMode {
		return "async"
	}
	return "default"
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// recordedGraph tells recorded graphs apart for people.
func recordedGraph(metadata map[string]string) string {
	text := metadata[plan.MetadataGraph]
	if text == "" {
		return "none"
	}
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text)))
}
