package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/jetstream"
)

// pulse is what was seen of a pipeline last.
type pulse struct {
	name types.NamespacedName
	// pipeline and ingress are guarded by the lock of the Watch.
	pipeline *v1alpha1.Pipeline
	ingress  string
	// seen is only used by the loop; empty before the first look.
	seen string
}

// beat is how often some of the pipelines are looked at, and together how many at most. Requests
// that are sent together cost less than half of what they cost one by one.
const (
	beat     = time.Second
	together = 32
)

// Start looks at each pipeline once in each interval, some at each beat, until the context ends.
func (w *Watch) Start(ctx context.Context) error {
	beats := int(max(w.interval/beat, 1))
	for i := 0; sleep(ctx, w.interval/time.Duration(beats)); i++ {
		all := w.pulses()
		share := func(n int) int { return n * len(all) / beats }
		for some := range slices.Chunk(all[share(i%beats):share(i%beats+1)], together) {
			var looks sync.WaitGroup
			for _, p := range some {
				looks.Go(func() { w.look(ctx, p) })
			}
			looks.Wait()
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

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
