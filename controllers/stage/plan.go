package stage

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/jetstream"
)

// intent is what a reconcile has decided to do.
type intent struct {
	// consumers are in the order of the plan, each input's lanes together; empty while NATS
	// cannot be asked.
	consumers []consumer
	// drop are consumers that the stage does not read any more, held the inputs that it goes on with for a
	// while, lost those that it has something left in and that no revision reads.
	drop       []durable
	held, lost []former

	// workers is nil when the plan has no such stage, and what runs goes on as it is; or when
	// the stage is chained and has none; or when refused says why what runs goes on as it is.
	workers *workers
	refused error
	// otherLanes says why consumers and workers are left as they are: the stage runs in other lanes than the manifest has it in.
	otherLanes string
	// prune are ConfigMaps that no worker uses any more.
	prune []corev1.ConfigMap
}

// consumer is what to do about one durable.
type consumer struct {
	jetstream.ConsumerChange
	// streamMissing: the Pipeline controller has not made the stream yet.
	streamMissing bool
}

// ready reports whether the durable exists as wanted, or will when the change is applied.
func (c consumer) ready() bool { return !c.streamMissing && !c.Action.Refused() }

// workers are the Kubernetes objects of a stage.
type workers struct {
	// replicas is how many there should be when all is applied.
	replicas int32
	// autoscaling is nil when the number is fixed.
	autoscaling *autoscaling
	// earlier: they are of a revision of another release; replaces names one that was edited.
	earlier    bool
	replaces   string
	config     *corev1ac.ConfigMapApplyConfiguration
	deployment *appsv1ac.DeploymentApplyConfiguration
}

// decide is pure: what does the snapshot call for? With an error, workers are left as they are.
func decide(s *snapshot, settings Settings) (intent, error) {
	if s.node == nil {
		return intent{}, nil
	}
	var in intent
	if in.otherLanes = s.lanesChange(); in.otherLanes != "" {
		return in, nil
	}
	if s.natsErr == nil { // else some of them may not have been read
		in.held, in.lost = s.held()
		for _, f := range s.former {
			if !slices.ContainsFunc(slices.Concat(in.held, in.lost), func(h former) bool { return h.entry == f.entry }) {
				in.drop = append(in.drop, f.lanes...)
			}
		}
	}
	if s.node.Head != "" {
		return in, nil
	}
	if s.natsErr == nil {
		in.consumers = decideConsumers(s, settings.Cluster)
	}
	var err error
	in.workers, err = workersFor(s, len(in.held) > 0 || s.unsure(), settings)
	if isEdited(err) {
		in.refused = err
		return in, nil
	}
	if err != nil {
		return in, err
	}
	in.prune = decidePrune(s, *in.workers.config.Name)
	return in, nil
}

func decideConsumers(s *snapshot, cluster string) []consumer {
	owner := access.StageOwner(s.stage, cluster)
	pipeline := owner
	pipeline.Stage = ""
	var consumers []consumer
	for _, in := range s.inputs {
		c := consumer{ConsumerChange: jetstream.CompareConsumer(in.want, owner, in.have)}
		switch {
		case in.have != nil:
		case in.stream == nil:
			c.streamMissing = true
		case !pipeline.Owns(in.stream.Config.Metadata):
			// Reading a stranger's stream would take the stranger's events for ours.
			c.Action = jetstream.ActionNotOwned
			c.Owner = "is on a stream that is not the pipeline's"
		}
		consumers = append(consumers, c)
	}
	return consumers
}

// decidePrune names the ConfigMaps of earlier rollouts, once the last one is through.
func decidePrune(s *snapshot, current string) []corev1.ConfigMap {
	if s.deployment == nil || configName(s.deployment) != current || !rolledOut(s.deployment) {
		return nil
	}
	var old []corev1.ConfigMap
	for _, c := range s.configMaps {
		if c.Name != current && c.DeletionTimestamp.IsZero() {
			old = append(old, c)
		}
	}
	return old
}
