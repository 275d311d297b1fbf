package stage

import (
	"context"
	"errors"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// indexOwner indexes ConfigMaps by the Stage that controls them.
const indexOwner = "metadata.controller"

func index(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &corev1.ConfigMap{}, indexOwner, func(o client.Object) []string {
		owner := metav1.GetControllerOf(o)
		if owner == nil || owner.Kind != "Stage" {
			return nil
		}
		return []string{string(owner.UID)}
	})
}

// snapshot is all that a reconcile reads.
type snapshot struct {
	stage *v1alpha1.Stage
	// pipeline is nil when there is none, or none that this Stage is a child of.
	pipeline *v1alpha1.Pipeline
	resolved graph.Resolved
	// node is the stage's slice of the plan; nil when it has none.
	node *plan.Stage

	deployment *appsv1.Deployment
	configMaps []corev1.ConfigMap

	// nats is nil when natsErr says why.
	nats    *jetstream.Client
	natsErr error
	// inputs are in the order of the plan.
	inputs []input
	// dropped are consumers that the stage had and that the plan does not name any more.
	dropped []v1alpha1.ConsumerStatus
}

// input is what exists of one wanted consumer.
type input struct {
	want plan.Consumer
	// have is nil when the consumer does not exist; stream is then read too, and nil when
	// it does not exist either.
	have   *jetstream.Consumer
	stream *jetstream.Stream
	lag    jetstream.Lag
}

// gather reads everything. Only errors of the API server end a reconcile; those of NATS
// become part of the snapshot.
func (r *Reconciler) gather(ctx context.Context, stage *v1alpha1.Stage) (*snapshot, error) {
	s := &snapshot{stage: stage}
	if err := r.gatherPipeline(ctx, s); err != nil {
		return nil, err
	}
	if err := r.gatherWorkers(ctx, s); err != nil {
		return nil, err
	}
	if s.node == nil {
		return s, nil
	}
	s.nats, s.natsErr = r.Access.Client(ctx, s.pipeline)
	if s.natsErr == nil {
		s.natsErr = r.gatherConsumers(ctx, s)
	}
	if s.natsErr != nil && !isNATS(s.natsErr) {
		return nil, s.natsErr
	}
	return s, nil
}

func (r *Reconciler) gatherPipeline(ctx context.Context, s *snapshot) error {
	pipeline, err := r.pipelineOf(ctx, s.stage)
	if err != nil || pipeline == nil {
		return err
	}
	stages, err := graph.List(ctx, r.Client, s.stage.Namespace, pipeline.Name)
	if err != nil {
		return err
	}
	s.pipeline = pipeline
	s.resolved = r.Planner.Resolve(pipeline, stages.Attached)
	s.node = s.resolved.Node(s.stage)
	return nil
}

// pipelineOf returns nil when the Pipeline does not exist, or when the Stage is the child
// of a former one of the same name.
func (r *Reconciler) pipelineOf(ctx context.Context, stage *v1alpha1.Stage) (*v1alpha1.Pipeline, error) {
	var pipeline v1alpha1.Pipeline
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: stage.Spec.PipelineRef.Name}, &pipeline)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if graph.IsChild(stage) && !graph.IsChildOf(stage, &pipeline) {
		return nil, nil
	}
	return &pipeline, nil
}

func (r *Reconciler) gatherWorkers(ctx context.Context, s *snapshot) error {
	var deployment appsv1.Deployment
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.stage), &deployment)
	switch {
	case err == nil:
		s.deployment = &deployment
	case !apierrors.IsNotFound(err):
		return err
	}
	var list corev1.ConfigMapList
	err = r.Client.List(ctx, &list, client.InNamespace(s.stage.Namespace), client.MatchingFields{indexOwner: string(s.stage.UID)})
	if err != nil {
		return err
	}
	s.configMaps = list.Items
	return nil
}

func (r *Reconciler) gatherConsumers(ctx context.Context, s *snapshot) error {
	for _, want := range s.node.Consumers {
		in, err := gatherInput(ctx, s.nats, want)
		if err != nil {
			return err
		}
		s.inputs = append(s.inputs, in)
	}
	owner := ownerOf(s.stage, r.Settings.Cluster)
	for _, old := range s.stage.Status.Consumers {
		if slices.ContainsFunc(s.node.Consumers, func(c plan.Consumer) bool { return c.Stream == old.Stream && c.Durable == old.Name }) {
			continue
		}
		have, err := s.nats.Consumer(old.Stream, old.Name)
		if errors.Is(err, jetstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if owner.Owns(have.Config.Metadata) {
			s.dropped = append(s.dropped, old)
		}
	}
	return nil
}

func gatherInput(ctx context.Context, nats *jetstream.Client, want plan.Consumer) (input, error) {
	in := input{want: want}
	var err error
	if in.have, err = nats.Consumer(want.Stream, want.Durable); err == nil {
		in.lag, err = nats.Lag(ctx, want.Stream, in.have)
		return in, err
	}
	in.have = nil
	if !errors.Is(err, jetstream.ErrNotFound) {
		return in, err
	}
	in.stream, err = nats.Stream(want.Stream)
	if errors.Is(err, jetstream.ErrNotFound) {
		in.stream, err = nil, nil
	}
	return in, err
}

// ownerOf is what marks the consumers of a stage.
func ownerOf(stage *v1alpha1.Stage, cluster string) jetstream.Owner {
	return jetstream.Owner{
		UID: string(stage.UID), Pipeline: stage.Namespace + "/" + stage.Spec.PipelineRef.Name,
		Stage: graph.Name(stage), Cluster: cluster,
	}
}

// isNATS reports whether an error is about NATS and so becomes a condition.
func isNATS(err error) bool { return jetstream.IsUnreachable(err) || access.IsCredentials(err) }
