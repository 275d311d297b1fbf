package jetstream

import (
	"maps"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"

	"millrace.dev/millrace/controllers/plan"
)

// ConsumerChange is what has to be done to one durable consumer.
type ConsumerChange struct {
	Stream, Name string
	Action       Action
	// Fields differ, for ActionUpdate and ActionImmutable.
	Fields Fields
	// Owner says whose the consumer is, for ActionNotOwned.
	Owner string
	// Config to send, for ActionCreate and ActionUpdate.
	Config api.ConsumerConfig
}

// ConsumerConfig is the configuration of a new durable: pull, everything from the start of
// the stream, or from a time on, delivered until it is acknowledged. An acknowledgement covers what is before it
// too: the one reader of a lane finishes messages in their order. The worker computes its
// backoff itself, and a worker that is scaled to zero keeps its position for ever.
func ConsumerConfig(want plan.Consumer, owner Owner) api.ConsumerConfig {
	return overlayConsumer(api.ConsumerConfig{}, want, owner)
}

// overlayConsumer lays what is wanted over a configuration. Fields that are not named here
// (description, sampling, pause, replicas, further metadata) are the user's.
func overlayConsumer(c api.ConsumerConfig, want plan.Consumer, owner Owner) api.ConsumerConfig {
	c.Durable, c.Name = want.Durable, want.Durable
	c.FilterSubject, c.FilterSubjects = want.FilterSubject, nil
	c.AckPolicy = api.AckAll
	c.DeliverPolicy, c.OptStartTime = api.DeliverAll, nil
	if !want.Start.IsZero() {
		start := want.Start.UTC()
		c.DeliverPolicy, c.OptStartTime = api.DeliverByStartTime, &start
	}
	c.ReplayPolicy = api.ReplayInstant
	c.AckWait = want.AckWait
	c.MaxAckPending = want.MaxAckPending
	c.MaxDeliver = -1
	c.BackOff = nil
	c.InactiveThreshold = 0
	c.HeadersOnly = false
	c.Metadata = owner.merge(c.Metadata)
	return c
}

// CompareConsumer says what has to be done so that the consumer is as wanted; have is nil
// when it does not exist.
func CompareConsumer(want plan.Consumer, owner Owner, have *Consumer) ConsumerChange {
	change := ConsumerChange{Stream: want.Stream, Name: want.Durable}
	if have == nil {
		change.Action, change.Config = ActionCreate, ConsumerConfig(want, owner)
		return change
	}
	if !owner.Owns(have.Config.Metadata) {
		change.Action, change.Owner = ActionNotOwned, describeOwner(have.Config.Metadata)
		return change
	}
	change.Config = overlayConsumer(have.Config, want, owner)
	change.Action, change.Fields = diffConsumer(have.Config, change.Config)
	return change
}

func diffConsumer(have, want api.ConsumerConfig) (Action, Fields) {
	var d differ
	d.fixed("deliver_policy", have.DeliverPolicy.String(), want.DeliverPolicy.String())
	d.fixed("opt_start_time", startOf(have), startOf(want))
	d.fixed("ack_policy", have.AckPolicy.String(), want.AckPolicy.String())
	d.fixed("replay_policy", have.ReplayPolicy.String(), want.ReplayPolicy.String())
	d.fixed("deliver_subject", have.DeliverSubject, "")
	d.fixed("mem_storage", have.MemoryStorage, false)
	d.fixed("priority_policy", have.PriorityPolicy.String(), api.PriorityNone.String())
	d.change("filter_subjects", filters(have), filters(want))
	d.change("ack_wait", have.AckWait, want.AckWait)
	d.change("max_ack_pending", have.MaxAckPending, want.MaxAckPending)
	d.change("max_deliver", have.MaxDeliver, want.MaxDeliver)
	d.change("backoff", len(have.BackOff), 0)
	d.change("inactive_threshold", have.InactiveThreshold, time.Duration(0))
	d.change("headers_only", have.HeadersOnly, false)
	if !maps.Equal(jsm.FilterServerMetadata(have.Metadata), want.Metadata) {
		d.change("metadata", have.Metadata[MetadataOwnerUID], want.Metadata[MetadataOwnerUID])
	}
	return d.decide()
}

// startOf is the time at which a consumer begins; empty = it begins at none.
func startOf(c api.ConsumerConfig) string {
	if c.OptStartTime == nil {
		return ""
	}
	return c.OptStartTime.UTC().Format(time.RFC3339Nano)
}

func filters(c api.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return sorted(c.FilterSubjects)
}
