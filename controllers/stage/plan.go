package stage

import (
	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
)

// intent is what a reconcile has decided to do.
type intent struct {
	// run is the revision that the workers are to be of: the newest, or an earlier one while former inputs are held.
	run *revision.Revision
	// consumers are in the order of the inputs, each input's lanes together; empty while NATS
	// cannot be asked.
	consumers []consumer
	// drop are consumers that the stage does not read any more, held the inputs that it goes on with for a
	// while, lost those that it has something left in and that no revision reads.
	drop       []durable
	held, lost []intake.Former

	// workers is nil when there is no revision, and what runs goes on as it is; or when
	// the stage is chained and has none; or when refused says why what runs goes on as it is.
	workers *workers
	refused error
	// otherLanes says why consumers and workers are left as they are: the stage runs in other lanes than it is to.
	otherLanes string
	// prune are ConfigMaps that no worker uses any more, pruneRevisions the revisions of long ago.
	prune          []corev1.ConfigMap
	pruneRevisions []*revision.Revision
}

// consumer is what to do about one lane of an input.
type consumer struct {
	jetstream.ConsumerChange
	lane *intake.Lane
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
	autoscaling *autoscale.Desired
	// earlier: another release of the operator made them, and this one would make them otherwise.
	earlier    bool
	config     *corev1ac.ConfigMapApplyConfiguration
	deployment *appsv1ac.DeploymentApplyConfiguration
}

// decide is pure: what does the snapshot call for?
func decide(s *snapshot, cluster string) intent {
	if s.newest == nil {
		return intent{refused: s.unreadable}
	}
	if why := lanesChange(s); why != "" {
		return intent{otherLanes: why}
	}
	var in intent
	in.run, in.held, in.lost = choose(s)
	if s.natsErr == nil {
		in.drop = decideDrop(s, in)
	}
	if s.newest.Head != "" {
		in.pruneRevisions = pruneRevisions(s, in.run)
		return in
	}
	if access.IsCredentials(s.natsErr) || s.unpaired[in.run.Name] { // no worker may have a Secret mounted of which that is not known
		return in
	}
	if s.natsErr == nil {
		in.consumers = decideConsumers(s, cluster)
	}
	if s.taken != "" {
		return in
	}
	if in.workers, in.refused = workersFor(s, in.run); in.refused != nil {
		return in
	}
	in.prune = pruneConfigMaps(s, in.run)
	in.pruneRevisions = pruneRevisions(s, in.run)
	return in
}

// lanesChange says why the stage cannot have the lanes of its revision: it has consumers of others, which would be read again
// from the start. The Pipeline controller refuses such a change; only a stage whose revisions were deleted comes to this.
func lanesChange(s *snapshot) string {
	if s.newest.Head != "" {
		return ""
	}
	for _, f := range s.intake.Former {
		if s.history.Reading(f.Stream, f.Durable) == nil && (f.Lanes > 1) != (s.newest.Lanes > 1) {
			return plan.LanesChange(graph.Name(s.stage), f.Lanes, s.newest.Lanes)
		}
	}
	return ""
}

func decideConsumers(s *snapshot, cluster string) []consumer {
	owner := access.StageOwner(s.stage, cluster)
	pipeline := owner
	pipeline.Stage = ""
	var consumers []consumer
	for i := range s.intake.Inputs {
		for j := range s.intake.Inputs[i].Lanes {
			lane := &s.intake.Inputs[i].Lanes[j]
			c := consumer{ConsumerChange: jetstream.CompareConsumer(lane.Want, owner, lane.Have), lane: lane}
			switch {
			case lane.Have != nil:
			case lane.Source == nil:
				c.streamMissing = true
			case !pipeline.Owns(lane.Source.Config.Metadata):
				// Reading a stranger's stream would take the stranger's events for ours.
				c.Action = jetstream.ActionNotOwned
				c.Owner = "is on a stream that is not the pipeline's"
			}
			consumers = append(consumers, c)
		}
	}
	return consumers
}

// pruneConfigMaps names the ConfigMaps of earlier rollouts, once the last one is through.
func pruneConfigMaps(s *snapshot, run *revision.Revision) []corev1.ConfigMap {
	if !rolled(s, run) {
		return nil
	}
	var old []corev1.ConfigMap
	for _, c := range s.configMaps {
		if c.Name != run.ConfigMap && c.DeletionTimestamp.IsZero() {
			old = append(old, c)
		}
	}
	return old
}

// revisionsKept is how many revisions before the newest are kept for people to look at.
const revisionsKept = 5

// pruneRevisions names the oldest revisions, but for those that read something of which consumers are left.
func pruneRevisions(s *snapshot, run *revision.Revision) []*revision.Revision {
	if s.natsErr != nil || s.newest.Head == "" && !rolled(s, run) || len(s.intake.Former) > 0 {
		return nil
	}
	var old []*revision.Revision
	for i, r := range s.history {
		if i < len(s.history)-1-revisionsKept && r != run {
			old = append(old, r)
		}
	}
	return old
}

// rolled says whether all workers are of a revision.
func rolled(s *snapshot, run *revision.Revision) bool {
	return s.deployment != nil && revision.Mounted(s.deployment) == run.ConfigMap && rolledOut(s.deployment)
}
