package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/pause"
)

// pulse is what was seen of a pipeline last.
type pulse struct {
	name types.NamespacedName
	// pipeline and ingress are guarded by the lock of the Watch.
	pipeline *v1alpha1.Pipeline
	ingress  string
	// looking is true while it is looked at.
	looking atomic.Bool
	// seen is only used by the look; empty before the first one.
	seen string
}

// beat is how often some of the pipelines are looked at, together: requests that are sent together cost less than
// half of what they cost one by one.
const beat = time.Second

// Start looks at each pipeline once in each interval, some at each beat, until the context ends. A
// server that does not answer delays the looks at its own pipelines alone.
func (w *Watch) Start(ctx context.Context) error {
	var looks sync.WaitGroup
	defer looks.Wait()
	beats := int(max(w.interval/beat, 1))
	for i := 0; pause.For(ctx, w.interval/time.Duration(beats)) == nil; i++ {
		all := w.pulses()
		share := func(n int) int { return n * len(all) / beats }
		for _, p := range all[share(i%beats):share(i%beats+1)] {
			if p.looking.Swap(true) {
				continue
			}
			looks.Go(func() {
				defer p.looking.Store(false)
				w.look(ctx, p)
			})
		}
	}
	return nil
}

// look wakes a pipeline and its stages when events have come, the server is another one, or it
// is gone or back.
func (w *Watch) look(ctx context.Context, p *pulse) {
	w.mu.Lock()
	pipeline, ingress := p.pipeline, p.ingress
	w.mu.Unlock()
	seen := w.see(ctx, pipeline, ingress)
	if p.seen != "" && p.seen != seen {
		w.wakeAll(p.name)
	}
	p.seen = seen
}

// see puts into words what a look found. Only whether it changes matters.
func (w *Watch) see(ctx context.Context, pipeline *v1alpha1.Pipeline, ingress string) string {
	client, err := w.access.Client(ctx, pipeline)
	if err != nil {
		return failure(err)
	}
	last, err := client.LastSequence(ctx, ingress)
	if err != nil {
		return failure(err)
	}
	return fmt.Sprintf("%s %d", client.Connection(), last)
}

// failure leaves out of an error what differs at each try, such as port numbers.
func failure(err error) string {
	switch {
	case jetstream.IsUnreachable(err):
		return "unreachable " + jetstream.ConnectionOf(err)
	case errors.Is(err, jetstream.ErrNotFound):
		return "no ingress"
	default:
		return err.Error()
	}
}
