package rig

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/plan"
)

// Apply makes again what is missing of the streams, the consumers and the buckets, as
// the operator does in a cluster, and sets what differs.
func (r *Rig) Apply(ctx context.Context) error { return apply(ctx, r.js, r.plan) }

// apply makes the streams, the consumers and the buckets of p.
func apply(ctx context.Context, js jetstream.JetStream, p *plan.Plan) error {
	for _, s := range p.Streams {
		if _, err := js.CreateOrUpdateStream(ctx, streamConfig(s)); err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
	}
	for _, s := range p.Stages {
		for _, c := range s.Consumers {
			if _, err := js.CreateOrUpdateConsumer(ctx, c.Stream, consumerConfig(c)); err != nil {
				return fmt.Errorf("consumer %s of stage %s: %w", c.Durable, s.Name, err)
			}
		}
	}
	bucket := jetstream.KeyValueConfig{
		Bucket: p.Leases.Bucket, History: 1, MaxValueSize: plan.LeasesMaxValueBytes, MaxBytes: 16 << 20, Replicas: 1,
		Storage: storageOf(p.Leases.Memory),
	}
	if _, err := js.CreateOrUpdateKeyValue(ctx, bucket); err != nil {
		return fmt.Errorf("bucket %s of the leases: %w", p.Leases.Bucket, err)
	}
	if p.States.Bucket == "" {
		return nil
	}
	bucket = jetstream.KeyValueConfig{Bucket: p.States.Bucket, History: 1, TTL: plan.StatesMaxAge, MaxBytes: 256 << 20, Replicas: 1, Storage: storageOf(p.States.Memory)}
	if _, err := js.CreateOrUpdateKeyValue(ctx, bucket); err != nil {
		return fmt.Errorf("bucket %s of the snapshots: %w", p.States.Bucket, err)
	}
	return nil
}

func storageOf(memory bool) jetstream.StorageType {
	if memory {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

func streamConfig(s plan.Stream) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: s.Name, Subjects: s.Subjects, Storage: storageOf(s.Memory),
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		// The rig has one server.
		Replicas: 1,
		MaxAge:   s.MaxAge, MaxBytes: s.MaxBytes, Duplicates: s.DuplicateWindow,
		AllowDirect: true, AllowAtomicPublish: true,
	}
	if s.Graph != "" {
		c.Metadata = map[string]string{plan.MetadataGraph: s.Graph}
	}
	if t := s.Transform; t != (plan.Transform{}) {
		c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: t.Source, Destination: t.Destination}
	}
	return c
}

func consumerConfig(c plan.Consumer) jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		Durable: c.Durable, FilterSubject: c.FilterSubject,
		AckPolicy: jetstream.AckAllPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: c.AckWait, MaxAckPending: c.MaxAckPending, MaxDeliver: -1,
	}
	if !c.Start.IsZero() {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &c.Start
	}
	return config
}
