package stage

import (
	"context"
	"errors"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
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
	hpa        *autoscalingv2.HorizontalPodAutoscaler
	// scaledObject is KEDA's; nil when there is none.
	scaledObject *unstructured.Unstructured
	configMaps   []corev1.ConfigMap

	// backend is who sets the number of workers of stages that scale; backendWhy says what is wrong with
	// it, if anything is.
	backend    scaling.Backend
	backendWhy backendTrouble
	// reading is the newest measurement of the stage.
	reading reading

	// nats is nil when natsErr says why.
	nats    *jetstream.Client
	natsErr error
	// inputs are in the order of the consumers in the plan.
	inputs []input
	// former are inputs that the stage had and that the plan does not name any more.
	former []former
	// duplicates that the workers have dropped; nil when the stage does not look for any, or its workers do not count.
	duplicates *v1alpha1.DuplicatesStatus
	// durables are the consumers with the metadata of the stage; only listed when status or revision do not tell of them.
	durables []string
	// leaving: another stage of the pipeline is being deleted.
	leaving bool
}

// durable names a consumer.
type durable struct{ stream, name string }

// input is what exists of one wanted consumer: of one input and one lane.
type input struct {
	want plan.Consumer
	// have is nil when the consumer does not exist; stream is then read too, and nil when
	// it does not exist either.
	have   *jetstream.Consumer
	stream *jetstream.Stream
	lag    jetstream.Lag
}

// gather reads everything. Only errors of the API server end a reconcile: it takes no status either. Those of NATS
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
	if s.natsErr != nil {
		if access.Reason(s.natsErr) != "" {
			return s, nil
		}
		return nil, s.natsErr
	}
	if s.natsErr = r.gatherConsumers(ctx, s); s.natsErr == nil {
		s.natsErr = gatherDuplicates(ctx, s)
	}
	return s, nil
}

func (r *Reconciler) gatherPipeline(ctx context.Context, s *snapshot) error {
	pipeline, err := graph.PipelineOf(ctx, r.Client, s.stage)
	if err != nil || pipeline == nil {
		return err
	}
	stages, err := graph.List(ctx, r.Client, s.stage.Namespace, pipeline.Name)
	if err != nil {
		return err
	}
	s.pipeline = pipeline
	s.leaving = isLeaving(stages, s.stage)
	s.resolved = r.Planner.Resolve(pipeline, stages.Attached)
	s.node = s.resolved.Node(s.stage)
	return nil
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
	if err := r.gatherAutoscaling(ctx, s); err != nil {
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

// backendTrouble is a condition's reason and message; empty when there is none.
type backendTrouble struct{ reason, message string }

func (r *Reconciler) gatherAutoscaling(ctx context.Context, s *snapshot) error {
	var hpa autoscalingv2.HorizontalPodAutoscaler
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.stage), &hpa)
	switch {
	case err == nil:
		s.hpa = &hpa
	case !apierrors.IsNotFound(err):
		return err
	}
	s.backend = r.Settings.Backend
	switch {
	case s.backend == scaling.External:
		r.Registration.LookFirst(ctx)
		s.backend = r.Registration.Backend()
		s.backendWhy = troubleOf(r.Registration.Standing())
	case s.backend == scaling.KEDA && !r.KEDA.Present():
		s.backend, s.backendWhy = scaling.Direct, backendTrouble{v1alpha1.ReasonNoKEDA, noKEDA}
	case s.backend == scaling.KEDA:
		scaledObject := keda.New()
		switch err := r.KEDA.Cache.Get(ctx, client.ObjectKeyFromObject(s.stage), scaledObject); {
		case err == nil:
			s.scaledObject = scaledObject
		case !apierrors.IsNotFound(err):
			return err
		}
	}
	s.reading.Reading, s.reading.measured = r.Meter.Latest(client.ObjectKeyFromObject(s.stage))
	return nil
}

const noKEDA = "the cluster does not have the kind ScaledObject (keda.sh/v1alpha1): install KEDA; the operator sets the number of workers itself until then"

func troubleOf(standing lag.Standing, message string) backendTrouble {
	switch standing {
	case lag.Foreign:
		return backendTrouble{v1alpha1.ReasonForeignMetricsAPI, message + "; the operator sets the number of workers itself (--autoscaling-backend=direct)"}
	case lag.Absent:
		return backendTrouble{v1alpha1.ReasonNoMetricsAPI, message + "; the operator sets the number of workers itself until then"}
	case lag.Unavailable:
		return backendTrouble{v1alpha1.ReasonMetricsUnavailable, message}
	default:
		return backendTrouble{}
	}
}

func (r *Reconciler) gatherConsumers(ctx context.Context, s *snapshot) error {
	for lanes := range slices.Chunk(s.node.Consumers, s.node.Lanes) {
		inputs, err := gatherInput(ctx, s.nats, lanes)
		if err != nil {
			return err
		}
		s.inputs = append(s.inputs, inputs...)
	}
	owner := access.StageOwner(s.stage, r.Settings.Cluster)
	known := knownInputs(s.stage, s.revision())
	found, err := gatherFound(s, known, owner)
	if err != nil {
		return err
	}
	for i, entry := range slices.Concat(known, found) {
		f, err := gatherFormer(ctx, s.nats, entry, owner, s.node.Consumers)
		if err != nil {
			return err
		}
		f.found = i >= len(known)
		if len(f.lanes) > 0 {
			s.former = append(s.former, f)
		}
	}
	return nil
}

// gatherFound lists the consumers of a stage when status or revision, which tell of them at other times, do not: a status may be
// lost, as after a restore. found are the inputs that are not known.
func gatherFound(s *snapshot, known []v1alpha1.ConsumerStatus, owner jetstream.Owner) (found []v1alpha1.ConsumerStatus, err error) {
	missing := slices.ContainsFunc(s.inputs, func(in input) bool { return in.have == nil })
	if s.node.Head != "" || len(s.stage.Status.Consumers) > 0 && (s.revisionLanes() > 0 || !missing) {
		return nil, nil
	}
	for _, stream := range s.resolved.Plan.Streams {
		names, err := s.nats.ConsumersOf(stream.Name, owner)
		if ignoreNotFound(err) != nil {
			return nil, err
		}
		s.durables = append(s.durables, names...)
		for _, entry := range inputsOfDurables(stream.Name, names) {
			if !named(known, entry) {
				found = append(found, entry)
			}
		}
	}
	return found, nil
}

// durablesOf names the consumers of one input that status speaks of.
func durablesOf(c v1alpha1.ConsumerStatus) []durable {
	var all []durable
	for _, name := range graph.Durables(c) {
		all = append(all, durable{c.Stream, name})
	}
	return all
}

// gatherInput reads what exists of the lanes of one input.
func gatherInput(ctx context.Context, nats *jetstream.Client, lanes []plan.Consumer) ([]input, error) {
	name := lanes[0].Stream
	names := make([]string, len(lanes))
	for i, c := range lanes {
		names[i] = c.Durable
	}
	have, err := readConsumers(nats, name, names)
	if err != nil {
		return nil, err
	}
	var stream *jetstream.Stream
	if len(have) < len(lanes) {
		if stream, err = nats.Stream(name); ignoreNotFound(err) != nil {
			return nil, err
		}
	}
	inputs := make([]input, len(lanes))
	for i, want := range lanes {
		in := input{want: want, have: have[want.Durable]}
		if in.have == nil {
			in.stream = stream
		} else if in.lag, err = nats.Lag(ctx, name, in.have); err != nil {
			return nil, err
		}
		inputs[i] = in
	}
	return inputs, nil
}

// readConsumers reads those that exist, by name, in one request.
func readConsumers(nats *jetstream.Client, stream string, names []string) (map[string]*jetstream.Consumer, error) {
	if len(names) == 1 {
		have := map[string]*jetstream.Consumer{}
		consumer, err := nats.Consumer(stream, names[0])
		if err == nil {
			have[names[0]] = consumer
		}
		return have, ignoreNotFound(err)
	}
	found, err := nats.Consumers(stream, names)
	return found, ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil
	}
	return err
}
