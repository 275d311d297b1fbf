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
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// snapshot is all that a reconcile reads.
type snapshot struct {
	pipeline *v1alpha1.Pipeline
	stages   graph.Stages
	resolved graph.Resolved
	// running is what each Stage runs, by the name of the object.
	running map[string]running
	// taken are Stages that have the name of a child and belong to somebody else.
	taken map[string]*v1alpha1.Stage
	// nats is nil when natsErr says why.
	nats    *jetstream.Client
	natsErr error
	// streams that exist, of those in the plan, and that of the leases.
	streams map[string]*jetstream.Stream
	// deadLetters that are new since the last look: the first and the last of them.
	deadLetters []jetstream.DeadLetter
}

// running is what a Stage runs.
type running struct {
	history revision.History
	// unreadable says why the history is not known.
	unreadable error
	// deployment and configMap are what workers run by without a revision; nil when there is one, or none of them.
	deployment *appsv1.Deployment
	configMap  *corev1.ConfigMap
}

// gather reads everything. Only errors of the API server end a reconcile; those of NATS
// become part of the snapshot.
func (r *Reconciler) gather(ctx context.Context, pipeline *v1alpha1.Pipeline) (*snapshot, error) {
	s := &snapshot{pipeline: pipeline}
	var err error
	if s.stages, err = graph.List(ctx, r.Client, pipeline.Namespace, pipeline.Name); err != nil {
		return nil, err
	}
	if s.running, err = r.gatherRunning(ctx, s); err != nil {
		return nil, err
	}
	s.resolved = r.Planner.Resolve(pipeline, s.stages.Attached, lanesOf(s.running))
	if s.taken, err = r.gatherTaken(ctx, s); err != nil {
		return nil, err
	}
	if s.resolved.Plan == nil {
		return s, nil
	}
	s.nats, s.natsErr = r.Access.Client(ctx, pipeline)
	if s.natsErr != nil {
		if access.Reason(s.natsErr) != "" {
			return s, nil
		}
		return nil, s.natsErr
	}
	s.streams, s.natsErr = gatherStreams(s.nats, s.resolved)
	if s.natsErr == nil {
		s.deadLetters, s.natsErr = gatherDeadLetters(ctx, s)
	}
	return s, nil
}

// gatherRunning reads what the Stages run.
func (r *Reconciler) gatherRunning(ctx context.Context, s *snapshot) (map[string]running, error) {
	all := map[string]running{}
	for _, stage := range ours(s.stages, s.pipeline) {
		var run running
		if run.history, run.unreadable = revision.List(ctx, r.Client, stage); revision.IsAPIError(run.unreadable) {
			return nil, run.unreadable
		}
		if len(run.history) == 0 && run.unreadable == nil {
			if err := r.gatherUnrevised(ctx, stage, &run); err != nil {
				return nil, err
			}
		}
		all[stage.Name] = run
	}
	return all, nil
}

// gatherUnrevised reads the workers of a Stage without revisions: an operator of a release before those made them.
func (r *Reconciler) gatherUnrevised(ctx context.Context, stage *v1alpha1.Stage, run *running) error {
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
	run.deployment, run.configMap = &d, &c
	return nil
}

// gatherDeadLetters reads the newest dead letters, and nothing while there are no new ones.
func gatherDeadLetters(ctx context.Context, s *snapshot) ([]jetstream.DeadLetter, error) {
	name := deadLetterStream(s.resolved.Plan)
	stream := s.streams[name]
	if stream == nil {
		return nil, nil
	}
	var seen uint64
	if before := s.pipeline.Status.DeadLetters; before != nil && before.Last != nil {
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

// deadLetterStream is the one stream that all stages write their dead letters to.
func deadLetterStream(p *plan.Plan) string {
	for _, stage := range p.Stages {
		if out, ok := stage.Config.Outputs[config.PortDeadLetter]; ok {
			return out.Stream
		}
	}
	return ""
}

func gatherStreams(nats *jetstream.Client, resolved graph.Resolved) (map[string]*jetstream.Stream, error) {
	streams := map[string]*jetstream.Stream{}
	for _, name := range streamsOf(resolved.Plan) {
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
	for _, child := range s.stages.Children {
		if graph.IsChildOf(&child, s.pipeline) {
			have[child.Name] = true
		}
	}
	taken := map[string]*v1alpha1.Stage{}
	for _, entry := range s.pipeline.Spec.Stages {
		name := plan.ChildName(s.pipeline.Name, entry.Name)
		if have[name] {
			continue
		}
		var stage v1alpha1.Stage
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.pipeline.Namespace, Name: name}, &stage)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !graph.IsChildOf(&stage, s.pipeline) {
			taken[name] = &stage
		}
	}
	return taken, nil
}
