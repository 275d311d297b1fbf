package rig

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/plan"
)

// apply makes the streams and consumers of p, as the operator does in a cluster.
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
	return nil
}

func streamConfig(s plan.Stream) jetstream.StreamConfig {
	storage := jetstream.FileStorage
	if s.Memory {
		storage = jetstream.MemoryStorage
	}
	return jetstream.StreamConfig{
		Name: s.Name, Subjects: s.Subjects, Storage: storage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		// The rig has one server.
		Replicas: 1,
		MaxAge:   s.MaxAge, MaxBytes: s.MaxBytes, Duplicates: s.DuplicateWindow,
		AllowDirect: true, AllowAtomicPublish: true,
	}
}

func consumerConfig(c plan.Consumer) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: c.Durable, FilterSubject: c.FilterSubject,
		AckPolicy: jetstream.AckAllPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: c.AckWait, MaxAckPending: c.MaxAckPending, MaxDeliver: -1,
	}
}
