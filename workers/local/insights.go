package local

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
)

// lastInsights returns the newest revision of every insight that the run stored, in the
// order in which they were first stored.
func lastInsights(ctx context.Context, js jetstream.JetStream, p *plan.Plan, after marks) ([]*eventv1.Event, error) {
	var out []*eventv1.Event
	at := map[string]int{}
	for _, s := range p.Stages {
		if _, ok := s.Config.Outputs[config.PortInsights]; !ok {
			continue
		}
		pl, err := portPlace(s, config.PortInsights)
		if err != nil {
			return nil, err
		}
		err = scan(ctx, js, pl, after[pl.stream], false, func(m jetstream.Msg) error {
			e, err := readInsight(m)
			if err != nil {
				return err
			}
			key := e.GetSource() + " " + e.GetId()
			if i, ok := at[key]; ok {
				out[i] = e
				return nil
			}
			at[key] = len(out)
			out = append(out, e)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func readInsight(m jetstream.Msg) (*eventv1.Event, error) {
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
	if len(bad) > 0 {
		return nil, bad[0].Err
	}
	if len(events) != 1 {
		return nil, fmt.Errorf("holds %d events, an insight stands alone", len(events))
	}
	return events[0].ToProto()
}
