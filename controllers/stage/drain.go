package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// leftover is a stage that is being deleted, and what is there of it.
type leftover struct {
	stage   *v1alpha1.Stage
	history revision.History
	// deployment is nil when there are no workers.
	deployment *appsv1.Deployment
	// stages of the same pipeline.
	stages graph.Stages
	// from are the ports that it reads, nats is where: by its newest revision or, where there is none, by what the manifests say.
	from []string
	nats *v1alpha1.NATSSpec
}

// drain reports whether a Stage that is being deleted has to wait, and says so in its status. It waits
// while its workers have not processed what was stored for it before the deletion, and for stages that it
// reads and that are deleted, too.
func (r *Reconciler) drain(ctx context.Context, stage *v1alpha1.Stage) (waits bool, err error) {
	l, drains, err := r.gatherLeftover(ctx, stage)
	if err != nil || !drains {
		return false, err
	}
	nats, err := r.Access.Connect(ctx, stage.Namespace, l.nats)
	if err != nil {
		return false, err
	}
	in, err := intake.Read(ctx, intake.Query{
		NATS: nats, Owner: access.StageOwner(stage, r.Cluster), Stage: stage, History: l.history, All: len(stage.Status.Consumers) == 0 || len(l.history) == 0,
	})
	if err != nil {
		return false, err
	}
	verdict := r.waitsFor(ctx, l, in)
	if verdict == nil {
		return false, nil
	}
	old := stage.DeepCopy()
	status.Set(&stage.Status.Conditions, stage.Generation, r.Now(), "", "", *verdict)
	return true, r.PatchSharedStatus(ctx, stage, old)
}

// waitsFor is what a stage that is being deleted waits for; nil when all is processed, when nobody processes what is left, and when it
// has waited long enough.
func (r *Reconciler) waitsFor(ctx context.Context, l leftover, in *intake.Intake) *status.Verdict {
	left, lost, upstream := l.left(in)
	then := "the stage is deleted"
	if upstream != "" {
		then = "and those that stage " + upstream + " makes until it is gone, " + then
	}
	if events := l.inOverflow(left); events > 0 {
		then += fmt.Sprintf(". Of these events %d wait in the overflow until the circuit breaker closes", events)
	}
	verdict := inputsDrained(l.stage, left, then)
	if verdict == nil {
		if len(lost) > 0 {
			streams, events := sumUp(lost)
			r.eventUnprocessed(ctx, l.stage, fmt.Sprintf("no worker reads %s, where about %d events are left", streams, events))
		}
		return nil
	}
	if r.Now().Sub(l.stage.DeletionTimestamp.Time) > r.DrainTimeout {
		r.eventUnprocessed(ctx, l.stage, fmt.Sprintf("gave up after %s: %s", r.DrainTimeout, verdict.Message))
		return nil
	}
	return verdict
}

// gatherLeftover says whether workers are there to process what is left, and whether it would be lost if they did
// not: with the stage, or with the streams of a pipeline that is deleted with them.
func (r *Reconciler) gatherLeftover(ctx context.Context, stage *v1alpha1.Stage) (l leftover, drains bool, err error) {
	l.stage = stage
	if decide.LeavesUnprocessed(stage) {
		return l, false, nil
	}
	if l.history, err = revision.List(ctx, r.Client, stage); revision.IsAPIError(err) {
		return l, false, err
	}
	pipeline, err := graph.PipelineOf(ctx, r.Client, stage)
	if err != nil || pipeline == nil {
		return l, false, err
	}
	l.from, l.nats = stage.Spec.From, pipeline.Spec.NATS
	if newest := l.history.Newest(); newest != nil {
		if newest.Suspended {
			return l, false, nil
		}
		l.from, l.nats = nil, newest.NATS
		for _, in := range newest.Inputs {
			l.from = append(l.from, in.From)
		}
	}
	if !pipeline.DeletionTimestamp.IsZero() && pipeline.Spec.DeletionPolicy != v1alpha1.DeletionDelete {
		return l, false, nil
	}
	d, err := r.ownDeployment(ctx, stage)
	if d == nil || err != nil || !d.DeletionTimestamp.IsZero() || revision.Replicas(d) == 0 {
		return l, false, err
	}
	l.deployment = d
	l.stages, err = graph.List(ctx, r.Client, stage.Namespace, stage.Spec.PipelineRef.Name)
	return l, true, err
}

// left are the inputs that are to be processed before the stage goes; lost those that its workers do not read: nor will
// they, since there is no other revision any more. upstream is a stage that it reads and that is still being deleted.
func (l leftover) left(in *intake.Intake) (left, lost []intake.Former, upstream string) {
	reads := l.history.Mounting(revision.Mounted(l.deployment))
	before, upstream := l.boundary()
	for _, f := range slices.Concat(asFormer(in.Inputs), in.Former) {
		switch {
		case reads != nil && !reads.Reads(f.Stream, f.Durable):
			if f.Events > 0 {
				lost = append(lost, f)
			}
		case upstream != "" || !decide.Drained(f, l.before(f, before)):
			left = append(left, f)
		}
	}
	return left, lost, upstream
}

// before is boundary for one input: of the overflow of the stage all has to be processed, since it is stored anew there.
func (l leftover) before(f intake.Former, boundary time.Time) time.Time {
	if l.overflows(f) {
		return time.Time{}
	}
	return boundary
}

// overflows says whether an input is the overflow of the stage.
func (l leftover) overflows(f intake.Former) bool {
	newest := l.history.Newest()
	return newest != nil && newest.Overflows(f.Stream, f.Durable, graph.Name(l.stage))
}

// inOverflow is how many events are left in the overflow of the stage.
func (l leftover) inOverflow(left []intake.Former) (events int64) {
	for _, f := range left {
		if l.overflows(f) {
			events += f.Events
		}
	}
	return events
}

// asFormer has the inputs of a stage that is being deleted as what they are: inputs that it had.
func asFormer(inputs []intake.Input) []intake.Former {
	var all []intake.Former
	for _, in := range inputs {
		f := intake.Former{Stream: in.Stream, Durable: in.Durable, Lanes: len(in.Lanes)}
		for _, lane := range in.Lanes {
			f.Events += lane.Lag.Events
			f.Oldest = intake.Older(f.Oldest, lane.Lag.Oldest)
		}
		all = append(all, f)
	}
	return all
}

// boundary says up to when what is stored for a stage that is being deleted has to be processed: all of it
// (zero) when some stage that it reads is gone, since then nothing more comes; else what was stored before
// the deletion. upstream is a stage that it reads and that is still being deleted.
func (l leftover) boundary() (before time.Time, upstream string) {
	before = l.stage.DeletionTimestamp.Time
	live := map[string]bool{"ingress": true}
	reads := map[string]bool{}
	for _, port := range l.from {
		reads[producer(port)] = true
	}
	for _, other := range slices.Concat(l.stages.Children, l.stages.Attached) {
		name := graph.Name(&other)
		live[name] = true
		if !other.DeletionTimestamp.IsZero() && name != graph.Name(l.stage) && reads[name] {
			upstream = name
		}
	}
	for name := range reads {
		if !live[name] {
			before = time.Time{}
		}
	}
	return before, upstream
}

// producer is the stage of a port: that of enrich/dead-letter is enrich.
func producer(port string) string {
	name, _, _ := strings.Cut(port, "/")
	return name
}

// consumersOf lists the durables of a stage on every stream of its pipeline, by stream.
func consumersOf(nats *jetstream.Client, owner jetstream.Owner) (map[string][]string, error) {
	streams, err := nats.StreamsOf(owner)
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for _, stream := range streams {
		names, err := nats.ConsumersOf(stream.Config.Name, owner)
		if err != nil {
			return nil, err
		}
		if len(names) > 0 {
			all[stream.Config.Name] = names
		}
	}
	return all, nil
}
