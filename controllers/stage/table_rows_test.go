package stage

import (
	"errors"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
	"millrace.dev/millrace/controllers/stage/internal/decide"
	"millrace.dev/millrace/test/pass"
	"millrace.dev/millrace/workers/config"
)

// rows are all of the table.
func rows() map[string]row {
	all := map[string]row{}
	for _, some := range []map[string]row{plain(), specs(), natsFails(), kubernetesFails(), others(), workers(), inputs(), autoscaling()} {
		maps.Copy(all, some)
	}
	return all
}

// failed is an outcome in which the API server answered with an error.
func failed(err error) func(decide.Desired, *outcome) {
	return func(_ decide.Desired, o *outcome) { o.kubernetes = err }
}

// wrote is one in which the workers' objects were written.
func wrote(how apply.Outcome) func(decide.Desired, *outcome) {
	return func(_ decide.Desired, o *outcome) {
		o.deployment = how
		o.objects[how] = []string{"ConfigMap c", "Deployment obs-correlate"}
	}
}

// madeConsumers is one in which all consumers were made, or updated.
func madeConsumers(in decide.Desired, o *outcome) {
	for _, c := range in.Consumers {
		o.changed = append(o.changed, c.ConsumerChange)
		o.consumers[key(c.Stream, c.Name)] = &jetstream.Consumer{Config: c.Config}
		o.created = o.created || c.Action == jetstream.ActionCreate
	}
}

// refused is one in which NATS refused a consumer.
func refused(err error) func(decide.Desired, *outcome) {
	return func(in decide.Desired, o *outcome) {
		o.refusals[key(in.Consumers[0].Stream, in.Consumers[0].Name)] = err
	}
}

// plain rows are those in which nothing is wrong.
func plain() map[string]row {
	return map[string]row{
		"all is well": {want: pass.Want{Next: "resync"}},
		"the first look at a new stage": {
			before: func(s *scene) { s.History, s.Newest, s.Deployment, s.Intake = nil, nil, nil, intake.Intake{} },
			change: func(s *scene) {
				compile(s.t, s.Observed, s.p)
				s.lane().Source = stream(map[string]string{jetstream.MetadataPipeline: "shop/obs"})
			},
			done: func(in decide.Desired, o *outcome) { madeConsumers(in, o); wrote(apply.Created)(in, o) },
			want: pass.Want{
				Ready: "Reconciling Progressing", Conditions: "WorkersAvailable False Progressing",
				Events: "Normal Created, Normal Ready, Normal Progressing", Next: "after 1s",
			},
		},
		"events were stored before the stage was made": {
			before: func(s *scene) {
				s.lane().Have, s.lane().Source = nil, stream(map[string]string{jetstream.MetadataPipeline: "shop/obs"})
				s.Deployment = nil
			},
			done: func(in decide.Desired, o *outcome) {
				o.changed, o.created = []jetstream.ConsumerChange{in.Consumers[0].ConsumerChange}, true
				o.backlogs[key(in.Consumers[0].Stream, in.Consumers[0].Name)] = jetstream.Lag{Events: 7, Oldest: began}
				wrote(apply.Created)(in, o)
			},
			want: pass.Want{
				Ready: "Reconciling Progressing", Conditions: "WorkersAvailable False Progressing",
				Events: "Normal Created, Normal ReadsFromStart", Next: "after 1s",
			},
		},
		"events wait to be processed": {
			change: func(s *scene) { s.lane().Have.Pending, s.lane().Lag = 5, jetstream.Lag{Events: 5, Oldest: began} },
			want:   pass.Want{Next: "fresh"},
		},
		"workers with dedupe have acknowledged something": {
			before: func(s *scene) { s.Newest.Dedupes = true },
			change: func(s *scene) { s.lane().Have.AckFloor = 9 },
			want:   pass.Want{Next: "fresh"},
		},
		"all circuit breakers are closed": {
			before: func(s *scene) { s.Newest.Breaks = true },
			want:   pass.Want{Conditions: "BreakersClosed True Ready", Next: "resync"},
		},
		"a circuit breaker opens": {
			before: func(s *scene) { s.Newest.Breaks = true },
			change: func(s *scene) { s.breaks() },
			want: pass.Want{
				Ready: "BreakerOpen", Conditions: "BreakersClosed False BreakerOpen", Events: "Warning BreakerOpen, Normal BreakerOpen", Next: "fresh",
			},
		},
		"all circuit breakers are closed again, and events wait in the overflow": {
			before: func(s *scene) { s.Newest.Breaks = true; s.breaks() },
			change: func(s *scene) {
				s.Breakers = config.Breakers{All: 3}
				s.Newest.Inputs[0].From = "correlate/overflow"
				s.lane().Have.Pending, s.lane().Lag = 5, jetstream.Lag{Events: 5, Oldest: began}
			},
			want: pass.Want{Conditions: "BreakersClosed True Ready", Events: "Normal Ready, Normal Ready", Next: "fresh"},
		},
		"NATS does not tell of a circuit breaker that is open": {
			before: func(s *scene) { s.Newest.Breaks = true; s.breaks() },
			change: func(s *scene) { s.asleep(silent) },
			want: pass.Want{
				Ready: "Reconciling NATSUnreachable", Conditions: "BreakersClosed False BreakerOpen, ConsumersReady False NATSUnreachable", Events: "Warning NATSUnreachable", Next: "after 1s",
			},
		},
		"the status is lost": {
			change: func(s *scene) {
				s.Stage.Status = v1alpha1.StageStatus{}
				accept(s.Stage, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
			},
			want: pass.Want{Next: "fresh"},
		},
		"a stage that is chained to another": {
			before: func(s *scene) { s.chain() },
			want:   pass.Want{Next: "resync"},
		},
	}
}

// breaks has a circuit breaker of one worker be open.
func (s *scene) breaks() {
	s.Breakers = config.Breakers{Longest: &config.OpenBreaker{Target: "models.fraud", Since: began.UTC()}, Open: 1, All: 3}
}

// chain has the stage run in the workers of another one.
func (s *scene) chain() {
	s.Newest.Head, s.Newest.Inputs, s.Intake.Inputs, s.Deployment = "head", nil, nil, nil
}

// specs are rows about what the Pipeline controller says of the manifest.
func specs() map[string]row {
	return map[string]row{
		"nobody has accepted it yet, and its first revision is of what it says now": {
			before: func(s *scene) { s.Stage.Status.Conditions, s.Newest.Marks.Manifest = nil, "1/1/" },
			want:   pass.Want{Next: "resync"},
		},
		"nobody has accepted it yet, and its revision is of what it said before": {
			before: func(s *scene) { s.Stage.Status.Conditions, s.Newest.Marks.Manifest = nil, "0/1/" },
			want:   pass.Want{Ready: "Reconciling Progressing", Conditions: "Accepted absent", Next: "resync"},
		},
		"an attached stage has lost its status": {
			before: func(s *scene) {
				s.Stage.OwnerReferences, s.Stage.Status.Conditions, s.Newest.Marks.Manifest = nil, nil, "1/1/"
			},
			want: pass.Want{Ready: "Reconciling Progressing", Conditions: "Accepted absent", Next: "resync"},
		},
		"the spec is refused, and no revision was ever accepted": {
			before: func(s *scene) {
				s.History, s.Newest, s.Deployment, s.Intake = nil, nil, nil, intake.Intake{}
				accept(s.Stage, metav1.ConditionFalse, v1alpha1.ReasonPipelineInvalid)
			},
			want: pass.Want{
				Ready:      "Reconciling PipelineInvalid",
				Conditions: "Accepted False PipelineInvalid, ConsumersReady Unknown Progressing, WorkersAvailable Unknown Progressing", Next: "resync",
			},
		},
		"the Pipeline is refused, and the stage runs its accepted revision": {
			change: func(s *scene) { s.p.Generation++ },
			want:   pass.Want{Next: "resync"},
		},
		"the attached stage itself is refused, and runs its accepted revision": {
			change: func(s *scene) { accept(s.Stage, metav1.ConditionFalse, v1alpha1.ReasonInvalid) },
			want:   pass.Want{Ready: "Stalled Invalid", Conditions: "Accepted False Invalid", Next: "resync"},
		},
		"the attached stage was edited, and its Pipeline is refused": {
			change: func(s *scene) { accept(s.Stage, metav1.ConditionUnknown, v1alpha1.ReasonProgressing) },
			want:   pass.Want{Ready: "Reconciling Progressing", Conditions: "Accepted Unknown Progressing", Next: "resync"},
		},
		"the attached stage was edited, and the Pipeline controller has not looked yet": {
			change: func(s *scene) { s.Stage.Generation++ },
			want:   pass.Want{Ready: "Reconciling Progressing", Next: "resync"},
		},
		"the stage is attached to a Pipeline that does not exist": {
			before: func(s *scene) {
				s.History, s.Newest, s.Deployment, s.Intake = nil, nil, nil, intake.Intake{}
				accept(s.Stage, metav1.ConditionFalse, v1alpha1.ReasonPipelineNotFound)
			},
			want: pass.Want{
				Ready:      "Reconciling PipelineNotFound",
				Conditions: "Accepted False PipelineNotFound, ConsumersReady Unknown Progressing, WorkersAvailable Unknown Progressing", Next: "resync",
			},
		},
		"the Pipeline is deleted while the attached stage runs": {
			change: func(s *scene) { accept(s.Stage, metav1.ConditionFalse, v1alpha1.ReasonPipelineNotFound) },
			want:   pass.Want{Ready: "Reconciling PipelineNotFound", Conditions: "Accepted False PipelineNotFound", Next: "resync"},
		},
		"somebody deleted the newest revision": {
			change: func(s *scene) { s.Newest, s.History, s.Intake = nil, nil, intake.Intake{} },
			want: pass.Want{
				Ready:      "Reconciling Progressing",
				Conditions: "ConsumersReady Unknown Progressing, WorkersAvailable Unknown Progressing", Events: "Normal Progressing, Normal Progressing", Next: "resync",
			},
		},
		"the revisions are of a newer release": {
			change: func(s *scene) {
				s.Newest, s.History, s.Intake = nil, nil, intake.Intake{}
				s.Unreadable = errors.New("revision obs-correlate-1 has another format")
			},
			want: pass.Want{
				Ready:      "Stalled WorkersUnavailable",
				Conditions: "ConsumersReady Unknown Progressing, WorkersAvailable False WorkersUnavailable",
				Events:     "Normal Progressing, Warning WorkersUnavailable", Next: "resync",
			},
		},
		"an earlier release of the operator made the workers": {
			change: func(s *scene) { s.Newest.Marks.Made = "another" },
			want:   pass.Want{Next: "resync"},
		},
		"the stage would run in other lanes than its consumers": {
			change: func(s *scene) {
				s.Newest.Lanes = 8
				s.Intake.Former = []intake.Former{{Stream: "OTHER", Durable: "other", Lanes: 1}}
			},
			want: pass.Want{
				Ready: "Stalled Invalid", Conditions: "ConsumersReady False Invalid, WorkersAvailable Unknown Invalid",
				Events: "Warning Invalid, Normal Invalid", Next: "resync",
			},
		},
	}
}

// natsFails are rows in which NATS does not do what it is asked for.
func natsFails() map[string]row {
	const left = "ConsumersReady False NATSUnreachable"
	return map[string]row{
		"NATS stops answering": {
			change: func(s *scene) { s.asleep(silent) },
			want:   pass.Want{Ready: "Reconciling NATSUnreachable", Conditions: left, Events: "Warning NATSUnreachable", Next: "after 1s"},
		},
		"NATS has not answered for a minute": {
			before: func(s *scene) { s.asleep(silent) },
			want:   pass.Want{Ready: "Reconciling NATSUnreachable", Conditions: left, Next: "after 30s"},
		},
		"NATS stops answering while consumers are made": {
			done: func(_ decide.Desired, o *outcome) { o.natsErr = silent },
			want: pass.Want{Ready: "Reconciling NATSUnreachable", Conditions: left, Events: "Warning NATSUnreachable", Next: "after 1s"},
		},
		"NATS answers again": {
			before: func(s *scene) { s.asleep(silent) },
			change: func(s *scene) {
				s.NATSErr = nil
				compile(s.t, s.Observed, s.p)
				s.History = s.History[1:]
				s.consume()
				s.run(1)
			},
			want: pass.Want{Events: "Normal Ready, Normal Ready", Next: "fresh"},
		},
		"NATS does not let the operator ask": {
			change: func(s *scene) { s.asleep(forbidden) },
			want: pass.Want{
				Ready: "Reconciling NATSForbidden", Conditions: "ConsumersReady False NATSForbidden", Events: "Warning NATSForbidden", Next: "after 1s",
			},
		},
		"NATS has no JetStream": {
			change: func(s *scene) { s.asleep(noStream) },
			want:   pass.Want{Ready: "Reconciling NATSUnreachable", Conditions: left, Events: "Warning NATSUnreachable", Next: "after 1s"},
		},
		"NATS answers with an error of its own": {
			change: func(s *scene) { s.asleep(errors.New("internal error")) },
			want: pass.Want{
				Ready: "Reconciling ConsumerFailed", Conditions: "ConsumersReady False ConsumerFailed", Events: "Warning ConsumerFailed", Next: "after 1s",
			},
		},
		"the account has too many consumers": {
			before: func(s *scene) {
				s.lane().Have, s.lane().Source = nil, stream(map[string]string{jetstream.MetadataPipeline: "shop/obs"})
				s.Deployment = nil
			},
			done: refused(full),
			want: pass.Want{
				Ready: "Reconciling ConsumerFailed", Conditions: "ConsumersReady False ConsumerFailed, WorkersAvailable False Progressing",
				Events: "Warning ConsumerFailed", Next: "after 1s",
			},
		},
		"the stream is not made yet": {
			before: func(s *scene) { s.lane().Have, s.Deployment = nil, nil },
			done:   func(_ decide.Desired, o *outcome) { o.streamMissing = true },
			want: pass.Want{
				Ready: "Reconciling StreamMissing", Conditions: "ConsumersReady False StreamMissing, WorkersAvailable False Progressing", Next: "after 30s",
			},
		},
		"the stream was deleted under running workers": {
			change: func(s *scene) { s.lane().Have = nil },
			done:   func(_ decide.Desired, o *outcome) { o.streamMissing = true },
			want: pass.Want{
				Ready: "Reconciling StreamMissing", Conditions: "ConsumersReady False StreamMissing", Events: "Warning StreamMissing", Next: "after 1s",
			},
		},
		"the Secret with the credentials is missing": {
			change: func(s *scene) { s.asleep(missing) },
			want: pass.Want{
				Ready:      "Reconciling CredentialsNotFound",
				Conditions: "ConsumersReady False CredentialsNotFound, WorkersAvailable Unknown CredentialsNotFound",
				Events:     "Warning CredentialsNotFound, Normal CredentialsNotFound", Next: "after 1s",
			},
		},
		"the Secret is not for this server": {
			change: func(s *scene) { s.asleep(unpaired) },
			want: pass.Want{
				Ready:      "Reconciling CredentialsNotForServer",
				Conditions: "ConsumersReady False CredentialsNotForServer, WorkersAvailable Unknown CredentialsNotForServer",
				Events:     "Warning CredentialsNotForServer, Normal CredentialsNotForServer", Next: "after 1s",
			},
		},
		"the Secret of the revision that the workers stay with is not for its server": {
			change: func(s *scene) { s.rename(1000); s.Unpaired = map[string]bool{s.ran.Name: true} },
			want: pass.Want{
				Ready:      "Stalled CredentialsNotForServer",
				Conditions: "WorkersAvailable False CredentialsNotForServer, InputsDrained False EventsLeft",
				Events:     "Warning CredentialsNotForServer, Warning EventsLeft", Next: "after 1s",
			},
		},
		"somebody deleted a consumer": {
			change: func(s *scene) {
				s.lane().Have, s.lane().Source = nil, stream(map[string]string{jetstream.MetadataPipeline: "shop/obs"})
			},
			done: madeConsumers,
			want: pass.Want{Events: "Warning Repaired", Next: "after 1s"},
		},
		"somebody edited a consumer": {
			change: func(s *scene) { s.lane().Have.Config.MaxAckPending++ },
			done:   madeConsumers,
			want:   pass.Want{Events: "Warning Repaired", Next: "resync"},
		},
		"the new manifest changes a consumer": {
			change: func(s *scene) {
				s.Stage.Generation++
				s.lane().Have.Config.MaxAckPending++
				accept(s.Stage, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
			},
			done: madeConsumers,
			want: pass.Want{Events: "Normal Updated", Next: "resync"},
		},
		"a consumer differs in what cannot be changed": {
			change: func(s *scene) { s.lane().Have.Config.DeliverSubject = "push" },
			want: pass.Want{
				Ready: "Stalled ImmutableField", Conditions: "ConsumersReady False ImmutableField", Events: "Warning ImmutableField", Next: "fresh",
			},
		},
	}
}

// kubernetesFails are rows in which the API server does not do what it is asked for.
func kubernetesFails() map[string]row {
	refused := pass.Want{
		Ready: "Stalled ObjectRefused", Conditions: "WorkersAvailable False ObjectRefused", Events: "Warning ObjectRefused", Next: "after 1s",
	}
	passing := pass.Want{
		Ready: "Reconciling WorkersUnavailable", Conditions: "WorkersAvailable False WorkersUnavailable", Events: "Warning WorkersUnavailable", Next: "rate limited",
	}
	conflict := passing
	conflict.Next = "after " + apply.CatchUp.String()
	terminating := apierrors.NewForbidden(deployments, "obs-correlate", errors.New("namespace shop is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	long := refused
	long.Events, long.Next = "", "after 30s"
	return map[string]row{
		"the API server finds the Deployment invalid":                {done: failed(invalid()), want: refused},
		"a policy is against the Deployment":                         {done: failed(apierrors.NewForbidden(deployments, "obs-correlate", errors.New("no"))), want: refused},
		"the API server has refused the Deployment for a minute":     {first: failed(invalid()), done: failed(invalid()), want: long},
		"one object is refused, and another meets a passing failure": {done: failed(errors.Join(invalid(), apierrors.NewTimeoutError("busy", 1))), want: passing},
		"the API server does not answer in time":                     {done: failed(apierrors.NewTimeoutError("busy", 1)), want: passing},
		"the namespace is being deleted":                             {done: failed(terminating), want: passing},
		"somebody wrote the Deployment meanwhile":                    {done: failed(apierrors.NewConflict(deployments, "obs-correlate", nil)), want: conflict},
	}
}

// others are rows in which somebody else has a name.
func others() map[string]row {
	theirs := map[string]string{jetstream.MetadataPipeline: "shop/other", jetstream.MetadataStage: "correlate"}
	refused := pass.Want{Ready: "Stalled NotOwned", Conditions: "ConsumersReady False NotOwned", Events: "Warning NotOwned", Next: "fresh"}
	return map[string]row{
		"somebody else has a Deployment of the name": {
			change: func(s *scene) { s.Deployment, s.Taken = nil, "nobody that it names" },
			want: pass.Want{
				Ready: "Stalled NotOwned", Conditions: "WorkersAvailable False NotOwned", Events: "Warning NotOwned", Next: "fresh",
			},
		},
		"somebody else has an autoscaler of the name": {
			before: func(s *scene) { s.scales(external) },
			done:   func(_ decide.Desired, o *outcome) { o.taken = "there is one" },
			want: pass.Want{
				Ready: "NotOwned", Conditions: "AutoscalingReady False NotOwned", Events: "Warning NotOwned, Normal NotOwned", Next: "fresh",
			},
		},
		"somebody else has a consumer of the name": {change: func(s *scene) { s.lane().Have.Config.Metadata = theirs }, want: refused},
		"the stream to read is somebody else's": {
			change: func(s *scene) { s.lane().Have, s.lane().Source = nil, stream(theirs) }, want: refused,
		},
	}
}

// workers are rows about the pods.
func workers() map[string]row {
	progressing := pass.Want{
		Ready: "Reconciling Progressing", Conditions: "WorkersAvailable False Progressing", Events: "Normal Progressing", Next: "resync",
	}
	unavailable := pass.Want{
		Ready: "Reconciling WorkersUnavailable", Conditions: "WorkersAvailable False WorkersUnavailable", Events: "Warning WorkersUnavailable", Next: "resync",
	}
	condition := func(kind appsv1.DeploymentConditionType, value corev1.ConditionStatus) func(*scene) {
		return func(s *scene) {
			s.Deployment.Status.ReadyReplicas = 0
			s.Deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: kind, Status: value, Message: "no"}}
		}
	}
	edited := progressing
	edited.Events = "Normal Updated, Normal Progressing"
	return map[string]row{
		"the new manifest changes the workers": {
			change: func(s *scene) {
				s.edit(func(p *v1alpha1.Pipeline) {
					p.Spec.Stages[2].Workers.NodeSelector = map[string]string{"pool": "events"}
				})
			},
			done: wrote(apply.Updated), want: edited,
		},
		"somebody deleted the Deployment": {
			change: func(s *scene) { s.Deployment = nil },
			done: func(_ decide.Desired, o *outcome) {
				o.deployment, o.objects[apply.Created] = apply.Created, []string{"Deployment obs-correlate"}
			},
			want: pass.Want{
				Ready: "Reconciling Progressing", Conditions: "WorkersAvailable False Progressing", Events: "Normal Created, Normal Progressing", Next: "resync",
			},
		},
		"the Deployment controller has not looked yet": {change: func(s *scene) { s.Deployment.Generation = 2 }, want: progressing},
		"the workers are being replaced": {
			change: func(s *scene) { s.Deployment.Status.Replicas, s.Deployment.Status.UpdatedReplicas = 2, 1 }, want: progressing,
		},
		"the rollout is past its deadline": {change: condition(appsv1.DeploymentProgressing, corev1.ConditionFalse), want: unavailable},
		"pods cannot be made":              {change: condition(appsv1.DeploymentReplicaFailure, corev1.ConditionTrue), want: unavailable},
		"a worker is not ready":            {change: func(s *scene) { s.Deployment.Status.ReadyReplicas = 0 }, want: progressing},
		"a worker is ready at last": {
			before: func(s *scene) { s.Deployment.Status.ReadyReplicas = 0 },
			change: func(s *scene) { s.Deployment.Status.ReadyReplicas = 1 },
			want:   pass.Want{Events: "Normal Ready, Normal Ready", Next: "resync"},
		},
		"the Pipeline is suspended": {
			before: func(s *scene) { s.edit(func(p *v1alpha1.Pipeline) { p.Spec.Suspend = true }); s.run(0) },
			want:   pass.Want{Ready: "Suspended", Conditions: "WorkersAvailable True Suspended", Next: "resync"},
		},
		"the Pipeline is suspended while workers run": {
			change: func(s *scene) {
				s.edit(func(p *v1alpha1.Pipeline) { p.Spec.Suspend = true })
				s.run(0)
				s.Deployment.Status.Replicas = 1
			},
			want: progressing,
		},
		"somebody scaled the stage to zero": {
			change: func(s *scene) { s.Stage.Spec.Replicas = new(int32(0)); s.run(0) },
			want:   pass.Want{Next: "resync"},
		},
		"workers stand by, since there are more of them than lanes": {
			change: func(s *scene) { s.Stage.Spec.Replicas = new(int32(3)); s.run(3) },
			want:   pass.Want{Next: "resync"},
		},
	}
}

// inputs are rows about inputs that the stage had.
func inputs() map[string]row {
	held := pass.Want{
		Ready: "Reconciling EventsLeft", Conditions: "InputsDrained False EventsLeft", Events: "Warning EventsLeft", Next: "after 1s",
	}
	lost := pass.Want{
		Ready: "Stalled RevisionLost", Conditions: "InputsDrained False RevisionLost", Events: "Warning RevisionLost", Next: "fresh",
	}
	silence := pass.Want{
		Ready: "Reconciling NATSUnreachable", Conditions: "ConsumersReady False NATSUnreachable, InputsDrained False EventsLeft",
		Events: "Warning NATSUnreachable", Next: "after 1s",
	}
	return map[string]row{
		"the stage is to read something else, and events are left": {change: func(s *scene) { s.rename(1000) }, want: held},
		"all of the former input is processed": {
			before: func(s *scene) { s.rename(1000) },
			change: func(s *scene) { s.Intake.Former[0].Events = 0 },
			done: func(in decide.Desired, o *outcome) {
				o.dropped[in.Drop[0].Stream] = []string{in.Drop[0].Name}
				wrote(apply.Updated)(in, o)
			},
			want: pass.Want{
				Ready: "Reconciling Progressing", Conditions: "WorkersAvailable False Progressing",
				Events: "Normal Deleted, Normal Updated, Normal Progressing", Next: "fresh",
			},
		},
		"nobody can read the former input any more": {
			change: func(s *scene) { s.rename(1000); s.History = s.History[1:]; s.run(1) }, want: lost,
		},
		"nobody can read the former input, and a person says leave it": {
			before: func(s *scene) { s.rename(1000); s.History = s.History[1:]; s.run(1) },
			change: func(s *scene) { s.Stage.Annotations = map[string]string{v1alpha1.AnnotationDrain: "false"} },
			done:   func(in decide.Desired, o *outcome) { o.dropped[in.Drop[0].Stream] = []string{in.Drop[0].Name} },
			want:   pass.Want{Events: "Normal Deleted, Normal Ready", Next: "fresh"},
		},
		"a former input is drained, and NATS stops answering": {
			before: func(s *scene) { s.rename(1000) },
			change: func(s *scene) { s.asleep(silent) }, want: silence,
		},
		"a former input is drained, and NATS has not answered for a minute": {
			before: func(s *scene) {
				meta.SetStatusCondition(&s.Stage.Status.Conditions, metav1.Condition{
					Type: v1alpha1.ConditionInputsDrained, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonEventsLeft,
				})
				s.rename(1000)
				s.asleep(silent)
			},
			want: pass.Want{Ready: silence.Ready, Conditions: silence.Conditions, Next: "after 30s"},
		},
		"a former input is drained by a stage that is suspended": {
			change: func(s *scene) {
				s.rename(1000)
				s.edit(func(p *v1alpha1.Pipeline) { p.Spec.Suspend = true })
				s.Deployment.Spec.Replicas, s.Deployment.Status = new(int32(0)), appsv1.DeploymentStatus{}
			},
			want: pass.Want{Ready: "Suspended", Conditions: "WorkersAvailable True Suspended", Events: "Normal Suspended, Normal Suspended", Next: "fresh"},
		},
	}
}

// autoscaling are rows about who sets the number of workers.
func autoscaling() map[string]row {
	works := func(next string) pass.Want {
		return pass.Want{Conditions: "AutoscalingReady True Autoscaling", Next: next}
	}
	degraded := func(reason string) pass.Want {
		return pass.Want{
			Ready: reason, Conditions: "AutoscalingReady False " + reason, Events: "Warning " + reason + ", Normal " + reason, Next: "fresh",
		}
	}
	by := func(b autoscale.Backend) func(*scene) { return func(s *scene) { s.scales(b) } }
	trouble := func(reason string) func(*scene) {
		return func(s *scene) {
			s.Scaling.Backend, s.Scaling.Trouble = autoscale.Direct{}, autoscale.Trouble{Reason: reason, Message: "no"}
		}
	}
	return map[string]row{
		"a HorizontalPodAutoscaler sets the number": {before: by(external), want: works("fresh")},
		"a HorizontalPodAutoscaler gets no metrics": {
			before: by(external), change: func(s *scene) { s.Scaling.HPA = brokenHPA() }, want: degraded("MetricsUnavailable"),
		},
		"a HorizontalPodAutoscaler is made": {
			change: by(external),
			done: func(_ decide.Desired, o *outcome) {
				o.objects[apply.Created] = []string{"HorizontalPodAutoscaler obs-correlate"}
			},
			want: pass.Want{Conditions: "AutoscalingReady True Autoscaling", Events: "Normal Created", Next: "fresh"},
		},
		"KEDA sets the number": {before: by(withKEDA), want: works("fresh")},
		"KEDA cannot work with the ScaledObject": {
			before: by(withKEDA), want: degraded("MetricsUnavailable"),
			change: func(s *scene) {
				s.Scaling.ScaledObject = scaledObject(map[string]any{"type": "Ready", "status": "False", "reason": "TriggerError", "message": "no answer"})
			},
		},
		"somebody paused KEDA": {
			before: by(withKEDA),
			change: func(s *scene) {
				s.Scaling.ScaledObject = scaledObject(map[string]any{"type": "Paused", "status": "True"})
			},
			want: pass.Want{Conditions: "AutoscalingReady True Paused", Events: "Normal Paused", Next: "fresh"},
		},
		"the cluster has no KEDA": {before: by(withKEDA), change: trouble(v1alpha1.ReasonNoKEDA), want: degraded("NoKEDA")},
		"the external metrics of the cluster are somebody else's": {
			before: by(external), change: trouble(v1alpha1.ReasonForeignMetricsAPI), want: degraded("ForeignMetricsAPI"),
		},
		"the cluster has no external metrics": {before: by(external), change: trouble(v1alpha1.ReasonNoMetricsAPI), want: degraded("NoMetricsAPI")},
		"the API server does not reach the external metrics": {
			before: by(external), want: degraded("MetricsUnavailable"),
			change: func(s *scene) {
				s.Scaling.Trouble = autoscale.Trouble{Reason: v1alpha1.ReasonMetricsUnavailable, Message: "no"}
			},
		},
		"the operator sets the number": {before: by(autoscale.Direct{}), want: works("fresh")},
		"the operator sets more workers": {
			before: by(autoscale.Direct{}),
			change: func(s *scene) {
				s.Scaling.Reading = &lag.Reading{Scales: true, Settled: 3, Wanted: scaling.Decision{Workers: 3, Reason: "because"}}
			},
			done: func(in decide.Desired, o *outcome) {
				o.scaled, o.deployment = &autoscale.Scaled{From: 1, To: *in.Workers.Autoscaling.Replicas}, apply.Updated
				o.objects[apply.Updated] = []string{"Deployment obs-correlate"}
			},
			want: pass.Want{
				Ready: "Reconciling Progressing", Conditions: "WorkersAvailable False Progressing, AutoscalingReady True Autoscaling",
				Events: "Normal Scaled, Normal Updated, Normal Progressing", Next: "fresh",
			},
		},
		"the lag is not known": {
			before: by(autoscale.Direct{}), want: degraded("MetricsUnavailable"),
			change: func(s *scene) { s.Scaling.Reading = &lag.Reading{Err: errors.New("NATS is away")} },
		},
		"nobody sets the number": {
			change: by(autoscale.None{}), want: pass.Want{
				Ready: "AutoscalingOff", Conditions: "AutoscalingReady False AutoscalingOff", Events: "Normal AutoscalingOff, Warning AutoscalingOff", Next: "resync",
			},
		},
		"somebody holds the number": {
			before: by(external), change: func(s *scene) { s.Stage.Spec.Replicas = new(int32(1)) },
			want: pass.Want{Conditions: "AutoscalingReady True ReplicasHeld", Events: "Normal ReplicasHeld", Next: "resync"},
		},
		"the load calls for no workers": {
			before: func(s *scene) {
				s.scales(external)
				s.edit(func(p *v1alpha1.Pipeline) { p.Spec.Stages[2].Workers.Min = new(int32(0)) })
				s.Newest.Lanes = 8
				s.run(0)
			},
			want: works("fresh"),
		},
		"the stage does not scale any more": {
			before: by(external),
			change: func(s *scene) {
				s.edit(func(p *v1alpha1.Pipeline) { p.Spec.Stages[2].Workers.Max = 0 })
				s.run(1)
			},
			want: pass.Want{Next: "resync"},
		},
	}
}
