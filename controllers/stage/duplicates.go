package stage

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// gatherDuplicates reads how many duplicates the workers have dropped; one request, for stages with dedupe alone.
func gatherDuplicates(ctx context.Context, s *snapshot) error {
	if !s.Newest.Dedupes {
		return nil
	}
	name := graph.Name(s.Stage)
	counts, err := s.nats.Counts(ctx, s.Newest.Leases, cmp.Or(s.Newest.Head, name))
	switch {
	case errors.Is(err, jetstream.ErrNotFound): // no worker has started, or the bucket is about to be made again
		s.Duplicates = s.Stage.Status.Duplicates
		return nil
	case err != nil || counts == nil:
		return err
	}
	s.Duplicates = &v1alpha1.DuplicatesStatus{Events: int64(counts.Duplicates[name]), Since: metav1.NewTime(counts.Since)}
	return nil
}

// progress remembers how far the consumers of stages with dedupe were: the last of what their workers have dropped
// is in the table a moment after the last acknowledgement. Its zero value is ready.
type progress struct {
	mu   sync.Mutex
	seen map[types.NamespacedName]acked
}

// acked is the sum of the positions of a stage's consumers, and when it was seen first.
type acked struct {
	sum   uint64
	since time.Time
}

// settled is how long after an acknowledgement all that it counts for is in the table: longer than two beats of a worker.
const settled = 5 * time.Second

// moved says whether the workers of a stage have acknowledged something in the last while.
func (p *progress) moved(name types.NamespacedName, s *decide.Observed, now time.Time) bool {
	if s.Newest == nil || !s.Newest.Dedupes {
		return false
	}
	at := acked{since: now}
	for _, in := range s.Intake.Inputs {
		for _, lane := range in.Lanes {
			if lane.Have != nil {
				at.sum += lane.Have.AckFloor
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if before, known := p.seen[name]; known && before.sum == at.sum {
		return now.Sub(before.since) < settled
	}
	if p.seen == nil {
		p.seen = map[types.NamespacedName]acked{}
	}
	p.seen[name] = at
	return true
}

func (p *progress) forget(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, name)
}
