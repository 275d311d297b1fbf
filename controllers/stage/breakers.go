package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/status"
)

// gatherBreakers reads which circuit breakers of the workers are open; one request, for stages with a breaker alone.
func gatherBreakers(ctx context.Context, s *snapshot) (err error) {
	if !s.Newest.Breaks {
		return nil
	}
	s.Breakers, err = s.nats.Breakers(ctx, s.Newest.Leases, cmp.Or(s.Newest.Head, graph.Name(s.Stage)))
	if errors.Is(err, jetstream.ErrNotFound) { // no worker has started, or the bucket is about to be made again
		return nil
	}
	return err
}

// breakersClosed says whether the circuit breakers of the workers are; nil for a stage without any.
func breakersClosed(rep report) *status.Verdict {
	const kind = v1alpha1.ConditionBreakersClosed
	newest := rep.seen.Newest
	switch {
	case newest == nil || !newest.Breaks:
		return nil
	case rep.seen.NATSErr != nil || rep.done.natsErr != nil:
		c := meta.FindStatusCondition(rep.seen.Stage.Status.Conditions, kind)
		if c == nil {
			return nil
		}
		v := status.Kept(c)
		v.Outlook = status.Aside
		return &v
	}
	var said []string
	b := rep.seen.Breakers
	if b.Longest != nil {
		said = append(said, fmt.Sprintf("the circuit breaker of %s has been open since %s, in %d of %d workers",
			b.Longest.Target, b.Longest.Since.UTC().Format(time.RFC3339), b.Open, b.All))
	}
	if events := inOverflow(rep); events > 0 {
		said = append(said, fmt.Sprintf("about %d events wait in the overflow", events))
	}
	if b.Longest != nil {
		return new(status.Degraded(kind, v1alpha1.ReasonBreakerOpen, strings.Join(said, "; ")))
	}
	return new(status.True(kind, v1alpha1.ReasonReady, strings.Join(append([]string{"all circuit breakers are closed"}, said...), "; ")))
}

// inOverflow is how many events wait in the overflow of the stage.
func inOverflow(rep report) int64 {
	var sum intake.Sum
	for _, in := range rep.seen.Intake.Inputs {
		if !rep.seen.Newest.Overflows(in.Stream, in.Durable, graph.Name(rep.seen.Stage)) {
			continue
		}
		for _, lane := range in.Lanes {
			sum.Add(lane)
		}
	}
	return sum.Events
}
