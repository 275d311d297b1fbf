package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// outcome is what came of an intent.
type outcome struct {
	// consumers as they are now, by stream and name.
	consumers map[string]*jetstream.Consumer
	// refusals are what NATS answered to a create or update, by stream and name.
	refusals map[string]error
	// streamMissing: a consumer waits for its stream.
	streamMissing bool
	// created: a consumer was made, and its lag is not known yet.
	created bool
	// backlogs are what the consumers that were made will read of what was stored before, by stream and name; without
	// those that found nothing.
	backlogs map[string]jetstream.Lag
	// natsErr: NATS could not be asked, before or in the middle.
	natsErr error
	// changed are the consumers that were made or updated, dropped those that were deleted, by stream.
	changed []jetstream.ConsumerChange
	dropped map[string][]string
	// objects are those of the workers, by what came of them; scaled is nil when their number stays.
	objects map[apply.Outcome][]string
	scaled  *autoscale.Scaled
	// deployment is what came of the Deployment.
	deployment apply.Outcome
	// taken says that somebody else has the name of the autoscaler.
	taken string
	// kubernetes errors end the reconcile and are tried again.
	kubernetes error
}

// waiting reports whether NATS has to be asked again soon.
func (o outcome) waiting() bool { return o.natsErr != nil || o.streamMissing || len(o.refusals) > 0 }

func key(stream, name string) string { return stream + "/" + name }

// nothing is what came of an intent of which nothing has been done yet.
func nothing(s *decide.Observed, in decide.Desired) outcome {
	done := outcome{
		consumers: map[string]*jetstream.Consumer{}, refusals: map[string]error{}, backlogs: map[string]jetstream.Lag{},
		dropped: map[string][]string{}, objects: map[apply.Outcome][]string{}, natsErr: s.NATSErr, deployment: apply.Unchanged,
	}
	for _, c := range in.Consumers {
		done.consumers[key(c.Stream, c.Name)] = c.Lane.Have
	}
	return done
}

// apply does all writes: consumers first, since a worker creates nothing.
func (r *Reconciler) apply(ctx context.Context, s *snapshot, in decide.Desired) outcome {
	done := nothing(s.Observed, in)
	ready := applyConsumers(ctx, s, in.Consumers, &done)
	dropConsumers(s, in, &done)
	if in.Workers == nil && done.kubernetes == nil {
		done.kubernetes = r.prune(ctx, s.Stage.Namespace, in)
	}
	// Workers that go on with former inputs had all of their consumers before.
	if in.Workers != nil && (ready || s.Deployment != nil || len(in.Held) > 0) {
		done.kubernetes = r.applyWorkers(ctx, s, in, &done)
	}
	return done
}

// applyConsumers reports whether all consumers exist as wanted.
func applyConsumers(ctx context.Context, s *snapshot, consumers []decide.Consumer, done *outcome) bool {
	ready := done.natsErr == nil
	for _, c := range consumers {
		ready = ready && c.Ready()
		done.streamMissing = done.streamMissing || c.StreamMissing
		if !c.Ready() || c.Action == jetstream.ActionNone || done.natsErr != nil {
			continue
		}
		have, err := s.nats.ApplyConsumer(c.Stream, c.Config)
		switch {
		case jetstream.IsUnreachable(err):
			done.natsErr, ready = err, false
		case err != nil:
			done.refusals[key(c.Stream, c.Name)], ready = s.nats.ExplainConsumer(err), false
		default:
			done.consumers[key(c.Stream, c.Name)] = have
			done.changed = append(done.changed, c.ConsumerChange)
			if c.Action == jetstream.ActionCreate {
				done.created = true
				done.natsErr = measureBacklog(ctx, s.nats, c, have, done)
			}
		}
	}
	return ready
}

// measureBacklog notes what a consumer that was just made will read of what was stored before. An answer that is no
// number does not matter: the consumer is there.
func measureBacklog(ctx context.Context, nats *jetstream.Client, c decide.Consumer, have *jetstream.Consumer, done *outcome) error {
	backlog, err := nats.Lag(ctx, c.Stream, have)
	if jetstream.IsUnreachable(err) {
		return err
	}
	if backlog.Events > 0 {
		done.backlogs[key(c.Stream, c.Name)] = backlog
	}
	return nil
}

func dropConsumers(s *snapshot, in decide.Desired, done *outcome) {
	for _, c := range in.Drop {
		if done.natsErr != nil {
			return
		}
		err := s.nats.DeleteConsumer(c.Stream, c.Name)
		switch {
		case jetstream.IsUnreachable(err):
			done.natsErr = err
		case err != nil:
			done.refusals[key(c.Stream, c.Name)] = err
		default:
			done.dropped[c.Stream] = append(done.dropped[c.Stream], c.Name)
		}
	}
}

func (r *Reconciler) applyWorkers(ctx context.Context, s *snapshot, in decide.Desired, done *outcome) error {
	name := *in.Workers.Config.Name
	result, err := r.applyConfig(ctx, s, in)
	if err != nil {
		return fmt.Errorf("apply ConfigMap %s: %w", name, err)
	}
	done.objects[result] = append(done.objects[result], "ConfigMap "+name)
	if done.scaled, err = r.Autoscaler.Prepare(ctx, s.Workload(), s.Scaling, in.Workers.Autoscaling); err != nil {
		return err
	}
	done.deployment, err = r.Applier.Apply(ctx, in.Workers.Deployment, s.Deployment)
	if err != nil {
		return fmt.Errorf("apply Deployment %s: %w", s.Stage.Name, err)
	}
	done.objects[done.deployment] = append(done.objects[done.deployment], "Deployment "+s.Stage.Name)
	result, done.taken, err = r.Autoscaler.Apply(ctx, s.Workload(), s.Scaling, in.Workers.Autoscaling)
	if err != nil {
		return err
	}
	if result != apply.Unchanged {
		done.objects[result] = append(done.objects[result], in.Workers.Autoscaling.Kind+" "+s.Stage.Name)
	}
	return r.prune(ctx, s.Stage.Namespace, in)
}

// applyConfig makes the ConfigMap of the revision, or brings it up to date.
func (r *Reconciler) applyConfig(ctx context.Context, s *snapshot, in decide.Desired) (apply.Outcome, error) {
	name := *in.Workers.Config.Name
	var live *corev1.ConfigMap
	i := slices.IndexFunc(s.ConfigMaps, func(c corev1.ConfigMap) bool { return c.Name == name && c.DeletionTimestamp.IsZero() })
	if i >= 0 {
		live = &s.ConfigMaps[i]
	}
	return r.Applier.Apply(ctx, in.Workers.Config, live)
}

// prune deletes what was of earlier rollouts.
func (r *Reconciler) prune(ctx context.Context, namespace string, in decide.Desired) error {
	var errs []error
	for _, c := range in.Prune {
		errs = append(errs, apply.Delete(ctx, r.Client, "ConfigMap", &c))
	}
	for _, old := range in.PruneRevisions {
		errs = append(errs, apply.Delete(ctx, r.Client, "ControllerRevision", &appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: old.Name},
		}))
	}
	return errors.Join(errs...)
}
