package local

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/plan"
)

// apply makes the streams and consumers of p on the embedded server, and the bucket of the leases: one process
// needs none of these, but the marks of dead letters that were replayed are there, too. What exists from an earlier run in the same store directory is kept, with its
// events.
func apply(ctx context.Context, js jetstream.JetStream, p *plan.Plan) error {
	if err := checkLayout(ctx, js, p); err != nil {
		return err
	}
	if err := checkLanes(ctx, js, p); err != nil {
		return err
	}
	for _, s := range p.Streams {
		c := streamConfig(s)
		if s.Name == p.Ingress.Name {
			c.Metadata = map[string]string{metadataPartitions: strconv.Itoa(p.Partitions), metadataPrefix: p.SubjectPrefix}
			if s.Graph != "" {
				c.Metadata[plan.MetadataGraph] = s.Graph
			}
		}
		if _, err := js.CreateOrUpdateStream(ctx, c); err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
	}
	if _, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: p.Leases.Bucket, MaxBytes: leasesMaxBytes}); err != nil {
		return fmt.Errorf("bucket %s: %w", p.Leases.Bucket, err)
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

// leasesMaxBytes is the size of the bucket of leases, as the operator makes it.
const leasesMaxBytes = 16 << 20

// The ingress remembers what no later run may change.
const (
	metadataPartitions = "millrace.dev/partitions"
	metadataPrefix     = "millrace.dev/subject-prefix"
)

// checkLayout refuses what the API server refuses in a cluster: by another number of partitions, or
// below another prefix, nobody would look at what is stored.
func checkLayout(ctx context.Context, js jetstream.JetStream, p *plan.Plan) error {
	ingress, err := js.Stream(ctx, p.Ingress.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", p.Ingress.Name, err)
	}
	if was, want := ingress.CachedInfo().Config.SubjectTransform, transform(p.Ingress); (was == nil) != (want == nil) {
		return errors.New("spec.ingress.partitionBy is another one than what is stored in --store-dir was stored with: set it back, or name another directory")
	}
	have := ingress.CachedInfo().Config.Metadata
	for _, f := range []struct{ field, key, want string }{
		{"spec.partitions", metadataPartitions, strconv.Itoa(p.Partitions)},
		{"spec.subjectPrefix", metadataPrefix, p.SubjectPrefix},
	} {
		// A store of an older version does not say.
		if was, ok := have[f.key]; ok && was != f.want {
			return fmt.Errorf("%s is %s, but what is stored in --store-dir was stored with %s: set it back, or name another directory", f.field, f.want, was)
		}
	}
	return nil
}

// checkLanes refuses what the operator refuses in a cluster: a stage that runs in other lanes than before.
func checkLanes(ctx context.Context, js jetstream.JetStream, p *plan.Plan) error {
	var durables []string
	for _, s := range p.Streams {
		stream, err := js.Stream(ctx, s.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
		names := stream.ConsumerNames(ctx)
		for name := range names.Name() {
			durables = append(durables, name)
		}
		if err := names.Err(); err != nil {
			return fmt.Errorf("list the consumers of stream %s: %w", s.Name, err)
		}
	}
	for i := range p.Stages {
		s := &p.Stages[i]
		if was := p.LanesOf(s, durables); was > 0 && was != s.Lanes && s.Head == "" {
			return fmt.Errorf("from %s; or name another --store-dir", plan.LanesChange(s.Name, was, s.Lanes))
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
		// One server holds one copy, whatever the manifest asks of a cluster.
		Replicas: 1,
		MaxAge:   s.MaxAge, MaxBytes: s.MaxBytes, Duplicates: s.DuplicateWindow,
		AllowDirect: true, AllowAtomicPublish: true, SubjectTransform: transform(s),
	}
}

func transform(s plan.Stream) *jetstream.SubjectTransformConfig {
	if s.Transform == (plan.Transform{}) {
		return nil
	}
	return &jetstream.SubjectTransformConfig{Source: s.Transform.Source, Destination: s.Transform.Destination}
}

func consumerConfig(c plan.Consumer) jetstream.ConsumerConfig {
	made := jetstream.ConsumerConfig{
		Durable: c.Durable, FilterSubject: c.FilterSubject,
		AckPolicy: jetstream.AckAllPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: c.AckWait, MaxAckPending: c.MaxAckPending, MaxDeliver: -1,
	}
	if !c.Start.IsZero() {
		made.DeliverPolicy, made.OptStartTime = jetstream.DeliverByStartTimePolicy, &c.Start
	}
	return made
}
