package decide

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
)

// Desired is what a reconcile has decided to do.
type Desired struct {
	// Run is the revision that the workers are to be of: the newest, or an earlier one while former inputs are held.
	Run *revision.Revision
	// Consumers are in the order of the inputs, each input's lanes together; empty while NATS
	// cannot be asked.
	Consumers []Consumer
	// Drop are consumers that the stage does not read any more, Held the inputs that it goes on with for a
	// while, Lost those that it has something left in and that no revision reads.
	Drop       []Durable
	Held, Lost []intake.Former

	// Workers is nil when there is no revision, and what runs goes on as it is; or when
	// the stage is chained and has none; or when Refused says why what runs goes on as it is.
	Workers *workers
	Refused error
	// OtherLanes says why consumers and workers are left as they are: the stage runs in other lanes than it is to.
	OtherLanes string
	// Prune are ConfigMaps that no worker uses any more, PruneRevisions the revisions of long ago.
	Prune          []corev1.ConfigMap
	PruneRevisions []*revision.Revision
}

// Consumer is what to do about one lane of an input.
type Consumer struct {
	jetstream.ConsumerChange
	Lane *intake.Lane
	// StreamMissing: the Pipeline controller has not made the stream yet.
	StreamMissing bool
}

// Ready reports whether the durable exists as wanted, or will when the change is applied.
func (c Consumer) Ready() bool { return !c.StreamMissing && !c.Action.Refused() }

// workers are the Kubernetes objects of a stage.
type workers struct {
	// Replicas is how many there should be when all is applied.
	Replicas int32
	// Autoscaling is nil when the number is fixed.
	Autoscaling *autoscale.Desired
	// Earlier: another release of the operator made them, and this one would make them otherwise.
	Earlier    bool
	Config     *corev1ac.ConfigMapApplyConfiguration
	Deployment *appsv1ac.DeploymentApplyConfiguration
}

// Decide is pure: what does the snapshot call for?
func Decide(s *Observed, cluster string) Desired {
	if s.Newest == nil {
		return Desired{Refused: s.Unreadable}
	}
	if why := lanesChange(s); why != "" {
		return Desired{OtherLanes: why}
	}
	var in Desired
	in.Run, in.Held, in.Lost = choose(s)
	if s.NATSErr == nil {
		in.Drop = decideDrop(s, in)
	}
	if s.Newest.Head != "" {
		in.PruneRevisions = pruneRevisions(s, in.Run)
		return in
	}
	if access.IsCredentials(s.NATSErr) || s.Unpaired[in.Run.Name] { // a worker mounts a Secret only when the operator knows that the Secret is meant for it
		return in
	}
	if s.NATSErr == nil {
		in.Consumers = decideConsumers(s, cluster)
	}
	if s.Taken != "" {
		return in
	}
	if in.Workers, in.Refused = workersFor(s, in.Run); in.Refused != nil {
		return in
	}
	in.Prune = pruneConfigMaps(s, in.Run)
	in.PruneRevisions = pruneRevisions(s, in.Run)
	return in
}

// lanesChange says why the stage cannot have the lanes of its revision: it has consumers of others, which would be read again
// from the start. The Pipeline controller refuses such a change; only a stage whose revisions were deleted comes to this.
func lanesChange(s *Observed) string {
	if s.Newest.Head != "" {
		return ""
	}
	for _, f := range s.Intake.Former {
		if s.History.Reading(f.Stream, f.Durable) == nil && (f.Lanes > 1) != (s.Newest.Lanes > 1) {
			return plan.LanesChange(graph.Name(s.Stage), f.Lanes, s.Newest.Lanes)
		}
	}
	return ""
}

func decideConsumers(s *Observed, cluster string) []Consumer {
	owner := access.StageOwner(s.Stage, cluster)
	pipeline := owner
	pipeline.Stage = ""
	var consumers []Consumer
	for i := range s.Intake.Inputs {
		for j := range s.Intake.Inputs[i].Lanes {
			lane := &s.Intake.Inputs[i].Lanes[j]
			c := Consumer{ConsumerChange: jetstream.CompareConsumer(lane.Want, owner, lane.Have), Lane: lane}
			switch {
			case lane.Have != nil:
			case lane.Source == nil:
				c.StreamMissing = true
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
func pruneConfigMaps(s *Observed, run *revision.Revision) []corev1.ConfigMap {
	if !rolled(s, run) {
		return nil
	}
	var old []corev1.ConfigMap
	for _, c := range s.ConfigMaps {
		if c.Name != run.ConfigMap && c.DeletionTimestamp.IsZero() {
			old = append(old, c)
		}
	}
	return old
}

// revisionsKept is how many revisions before the newest are kept for people to look at.
const revisionsKept = 5

// pruneRevisions names the oldest revisions, but for those that read something of which consumers are left.
func pruneRevisions(s *Observed, run *revision.Revision) []*revision.Revision {
	if s.NATSErr != nil || s.Newest.Head == "" && !rolled(s, run) || len(s.Intake.Former) > 0 {
		return nil
	}
	var old []*revision.Revision
	for i, r := range s.History {
		if i < len(s.History)-1-revisionsKept && r != run {
			old = append(old, r)
		}
	}
	return old
}

// rolled says whether all workers are of a revision.
func rolled(s *Observed, run *revision.Revision) bool {
	return s.Deployment != nil && revision.Mounted(s.Deployment) == run.ConfigMap && rolledOut(s.Deployment)
}

// planned is how long a new Stage waits for its first revision before its status says that there is none.
const planned = 5 * time.Second

// AwaitsRevision says for how long to leave a new Stage as it is, unless its first revision comes before; 0 = not any more. A status written now
// would be replaced in a moment.
func AwaitsRevision(s *Observed, now time.Time) time.Duration {
	if c := meta.FindStatusCondition(s.Stage.Status.Conditions, v1alpha1.ConditionAccepted); c != nil && c.Status != metav1.ConditionTrue {
		return 0 // its status says why it has none
	}
	if s.Newest != nil || s.Unreadable != nil || len(s.History) > 0 || s.Deployment != nil || s.Stage.Status.ObservedGeneration > 0 {
		return 0
	}
	return max(s.Stage.CreationTimestamp.Add(planned).Sub(now), 0)
}
