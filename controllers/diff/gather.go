package diff

import (
	"context"
	"errors"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// server is what the NATS server has of a pipeline.
type server struct {
	now time.Time
	// streams are those of the plan that exist, and those that the pipeline owns beside them.
	streams map[string]*jetstream.Stream
	// consumers are those of the plan that exist, and those that the pipeline owns beside them, by stream and name.
	consumers map[string]map[string]*jetstream.Consumer
	// waiting are the events that consumers which the plan does not have are behind.
	waiting map[*jetstream.Consumer]int64
	// expires are how many messages of a stream are older than the plan lets them get.
	expires map[string]uint64
}

// gather reads all of it, and changes nothing.
func gather(ctx context.Context, client *jetstream.Client, p *plan.Plan, cluster string, now time.Time) (*server, error) {
	s := &server{
		now: now, streams: map[string]*jetstream.Stream{}, consumers: map[string]map[string]*jetstream.Consumer{},
		waiting: map[*jetstream.Consumer]int64{}, expires: map[string]uint64{},
	}
	owner := ownerOf(p, "", cluster)
	owned, err := client.StreamsOf(owner)
	if err != nil {
		return nil, err
	}
	for _, one := range owned {
		s.streams[one.Config.Name] = one
	}
	names := p.Buckets()
	for _, want := range p.Streams {
		names = append(names, want.Name)
	}
	for _, name := range names { // those of somebody else, too
		if s.streams[name] != nil {
			continue
		}
		one, err := client.Stream(name)
		if errors.Is(err, jetstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.streams[name] = one
	}
	planned := map[string]bool{}
	for i := range p.Stages {
		for _, c := range p.Stages[i].Consumers {
			planned[c.Stream+" "+c.Durable] = true
		}
	}
	for name := range s.streams {
		all, err := client.AllConsumers(name)
		if err != nil {
			return nil, err
		}
		s.consumers[name] = map[string]*jetstream.Consumer{}
		for _, c := range all {
			durable := c.Config.Durable
			switch mine := c.Config.Metadata[jetstream.MetadataPipeline] == owner.Pipeline && c.Config.Metadata[jetstream.MetadataCluster] == cluster; {
			case planned[name+" "+durable]:
			case !mine:
				continue
			default:
				lag, err := client.Lag(ctx, name, c)
				if err != nil {
					return nil, err
				}
				s.waiting[c] = lag.Events
			}
			s.consumers[name][durable] = c
		}
	}
	for _, want := range p.Streams {
		if err := s.gatherExpiring(ctx, client, want); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// gatherExpiring counts the messages that a shorter maxAge removes.
func (s *server) gatherExpiring(ctx context.Context, client *jetstream.Client, want plan.Stream) error {
	have := s.streams[want.Name]
	if have == nil || have.State.Msgs == 0 || want.MaxAge == 0 || have.Config.MaxAge > 0 && have.Config.MaxAge <= want.MaxAge {
		return nil
	}
	cut := s.now.Add(-want.MaxAge)
	if !have.State.FirstTime.Before(cut) {
		return nil
	}
	first := have.State.LastSeq + 1
	_, err := client.Direct(ctx, want.Name, jetstream.Direct{Since: &cut, Batch: 1}, func(m *jetstream.Message) error {
		first = m.Sequence
		return nil
	})
	if err != nil {
		return err
	}
	s.expires[want.Name] = min(first-have.State.FirstSeq, have.State.Msgs)
	return nil
}

// ownerOf is the owner of what a pipeline has on a server, of its streams where the stage is empty. The UID is not known, and does
// not decide.
func ownerOf(p *plan.Plan, stage, cluster string) jetstream.Owner {
	return jetstream.Owner{Pipeline: p.Namespace + "/" + p.Name, Stage: stage, Cluster: cluster}
}
