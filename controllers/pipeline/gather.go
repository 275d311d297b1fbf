package pipeline

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
	"millrace.dev/millrace/controllers/plan"
)

// snapshot is all that a reconcile reads, and the connection to go on by.
type snapshot struct {
	*decide.Observed
	// nats is nil when NATSErr says why.
	nats *jetstream.Client
}

// gather reads everything. Only errors of the API server end a reconcile; those of NATS
// become part of the snapshot.
func (r *Reconciler) gather(ctx context.Context, pipeline *v1alpha1.Pipeline) (*snapshot, error) {
	s := &snapshot{Observed: &decide.Observed{Pipeline: pipeline, Now: r.Now()}}
	var err error
	if s.Stages, err = graph.List(ctx, r.Client, pipeline.Namespace, pipeline.Name); err != nil {
		return nil, err
	}
	if s.Running, err = r.gatherRunning(ctx, s); err != nil {
		return nil, err
	}
	s.Resolved = r.Planner.Resolve(pipeline, s.Stages.Attached, decide.LanesOf(s.Running))
	if s.Taken, err = r.gatherTaken(ctx, s); err != nil {
		return nil, err
	}
	if s.Resolved.Plan == nil {
		return s, nil
	}
	s.nats, s.NATSErr = r.Access.Client(ctx, pipeline)
	if s.NATSErr != nil {
		if access.Reason(s.NATSErr) != "" {
			return s, nil
		}
		return nil, s.NATSErr
	}
	s.Streams, s.NATSErr = gatherStreams(s.nats, s.Resolved)
	if s.NATSErr == nil {
		s.DeadLetters, s.NATSErr = gatherDeadLetters(ctx, s)
	}
	return s, nil
}

// gatherRunning reads what the Stages run.
func (r *Reconciler) gatherRunning(ctx context.Context, s *snapshot) (map[string]decide.Running, error) {
	all := map[string]decide.Running{}
	for _, stage := range decide.Stages(s.Stages, s.Pipeline) {
		var run decide.Running
		if run.History, run.Unreadable = revision.List(ctx, r.Client, stage); revision.IsAPIError(run.Unreadable) {
			return nil, run.Unreadable
		}
		if len(run.History) == 0 && run.Unreadable == nil {
			if err := r.gatherUnrevised(ctx, stage, &run); err != nil {
				return nil, err
			}
		}
		all[stage.Name] = run
	}
	return all, nil
}

// gatherUnrevised reads the workers of a Stage without revisions: an operator of a release before those made them.
func (r *Reconciler) gatherUnrevised(ctx context.Context, stage *v1alpha1.Stage, run *decide.Running) error {
	var d appsv1.Deployment
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(stage), &d)
	if err != nil || !metav1.IsControlledBy(&d, stage) {
		return client.IgnoreNotFound(err)
	}
	var c corev1.ConfigMap
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: revision.Mounted(&d)}, &c)
	if err != nil || !metav1.IsControlledBy(&c, stage) {
		return client.IgnoreNotFound(err)
	}
	run.Deployment, run.ConfigMap = &d, &c
	return nil
}

// gatherDeadLetters reads the newest dead letters, and nothing while there are no new ones.
func gatherDeadLetters(ctx context.Context, s *snapshot) ([]jetstream.DeadLetter, error) {
	name := decide.DeadLetterStream(s.Resolved.Plan)
	stream := s.Streams[name]
	if stream == nil {
		return nil, nil
	}
	var seen uint64
	if before := s.Pipeline.Status.DeadLetters; before != nil && before.Last != nil {
		seen = uint64(before.Last.Sequence)
	}
	if stream.State.Msgs == 0 || stream.State.LastSeq == seen {
		return nil, nil
	}
	if stream.State.LastSeq < seen { // the stream was made again
		seen = 0
	}
	return s.nats.DeadLetters(ctx, name, seen)
}

func gatherStreams(nats *jetstream.Client, resolved graph.Resolved) (map[string]*jetstream.Stream, error) {
	streams := map[string]*jetstream.Stream{}
	for _, name := range decide.StreamsOf(resolved.Plan) {
		have, err := nats.Stream(name)
		if errors.Is(err, jetstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		streams[name] = have
	}
	return streams, nil
}

// gatherTaken finds Stages that stand where a child should: an attached one, or the child
// of another Pipeline (a-b of stage c and a of stage b-c are both a-b-c).
func (r *Reconciler) gatherTaken(ctx context.Context, s *snapshot) (map[string]*v1alpha1.Stage, error) {
	have := map[string]bool{}
	for _, child := range s.Stages.Children {
		if graph.IsChildOf(&child, s.Pipeline) {
			have[child.Name] = true
		}
	}
	taken := map[string]*v1alpha1.Stage{}
	for _, entry := range s.Pipeline.Spec.Stages {
		name := plan.ChildName(s.Pipeline.Name, entry.Name)
		if have[name] {
			continue
		}
		var stage v1alpha1.Stage
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Pipeline.Namespace, Name: name}, &stage)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !graph.IsChildOf(&stage, s.Pipeline) {
			taken[name] = &stage
		}
	}
	return taken, nil
}
