package pipeline

import (
	"errors"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
	"millrace.dev/millrace/test/pass"
)

const (
	raw    = "SHOP_OBS_RAW"
	unmade = "StagesReady False Progressing"
)

// rows are all of the table.
func rows() map[string]row {
	all := map[string]row{}
	for _, some := range []map[string]row{plain(), specs(), natsFails(), streams(), kubernetesFails(), stageRows(), powerSafeRows(), deadLetters()} {
		maps.Copy(all, some)
	}
	return all
}

func failed(err error) func(decide.Desired, *outcome) {
	return func(_ decide.Desired, o *outcome) { o.kubernetes = err }
}

// madeStreams is an outcome in which all streams were made.
func madeStreams(in decide.Desired, o *outcome) {
	for _, change := range in.Streams {
		if change.Action == jetstream.ActionCreate {
			o.created = append(o.created, change.Name)
			o.streams[change.Name] = &jetstream.Stream{Config: change.Config}
		}
	}
}

// madeStages is one in which these children were written.
func madeStages(how apply.Outcome, names ...string) func(decide.Desired, *outcome) {
	return func(_ decide.Desired, o *outcome) {
		o.stages[how] = names
		for _, name := range names {
			o.applied[name] = true
		}
	}
}

// compiled is one in which revisions were written.
func compiled(in decide.Desired, o *outcome) {
	for _, c := range in.Revisions {
		o.applied[c.Stage.Name] = true
	}
}

// empty is a pipeline of which nothing exists yet.
func empty(s *scene) {
	*s.Observed = *fresh(s.t).Observed
}

// plain rows are those in which nothing is wrong.
func plain() map[string]row {
	return map[string]row{
		"all is well": {want: pass.Want{Next: "resync"}},
		"the first look at a new pipeline": {
			before: empty,
			change: func(s *scene) { s.Pipeline.Status = v1alpha1.PipelineStatus{} },
			done: func(in decide.Desired, o *outcome) {
				madeStreams(in, o)
				madeStages(apply.Created, "obs-validate", "obs-correlate")(in, o)
			},
			want: pass.Want{Ready: "Reconciling Progressing", Conditions: unmade, Events: "Normal Created, Normal Created", Next: "fresh"},
		},
		"the stages get their revisions": {
			change: func(s *scene) {
				s.edit(func(p *v1alpha1.PipelineSpec) { p.Stages[0].Validate.RequiredAttributes = []string{"id"} })
			},
			done: compiled,
			want: pass.Want{Ready: "Reconciling Progressing", Conditions: unmade, Events: "Normal Progressing", Next: "resync"},
		},
		"the stages run their revisions": {
			before: func(s *scene) {
				s.edit(func(p *v1alpha1.PipelineSpec) { p.Stages[0].Validate.RequiredAttributes = []string{"id"} })
			},
			first:  compiled,
			change: func(s *scene) { s.settle() },
			want:   pass.Want{Events: "Normal Ready, Normal Ready", Next: "resync"},
		},
		"events wait to be processed": {
			change: func(s *scene) { s.stage("validate").Status.Lag = new(int64(5)) },
			want:   pass.Want{Next: "fresh"},
		},
		"events are being published": {
			change: func(s *scene) { s.Streams[raw].State.Msgs = 5 },
			want:   pass.Want{Next: "fresh"},
		},
		"the status is lost": {
			change: func(s *scene) { s.Pipeline.Status = v1alpha1.PipelineStatus{} },
			want:   pass.Want{Next: "fresh"},
		},
		"the Pipeline is suspended": {
			before: func(s *scene) { s.suspend() },
			want:   pass.Want{Ready: "Suspended", Next: "resync"},
		},
		"the Pipeline is suspended while workers run": {
			change: func(s *scene) {
				s.suspend()
				says(s.stage("validate"), metav1.ConditionFalse, v1alpha1.ReasonProgressing)
			},
			want: pass.Want{Ready: "Reconciling Progressing", Conditions: unmade, Events: "Normal Progressing", Next: "resync"},
		},
		"the Pipeline is resumed, and a stage still says that it rests": {
			change: func(s *scene) { says(s.stage("validate"), metav1.ConditionTrue, v1alpha1.ReasonSuspended) },
			want:   pass.Want{Ready: "Reconciling Progressing", Conditions: unmade, Events: "Normal Progressing", Next: "resync"},
		},
		"a stage is chained to another": {
			before: func(s *scene) {
				s.edit(func(p *v1alpha1.PipelineSpec) {
					p.Stages = append(p.Stages, v1alpha1.PipelineStage{Name: "late", StageNode: v1alpha1.StageNode{
						From: []string{"validate"}, Validate: &v1alpha1.ValidateSpec{}, Placement: &v1alpha1.PlacementSpec{With: "validate"},
					}})
				})
				s.Stages.Children = append(s.Stages.Children, child("late"))
				for _, change := range decide.Decide(s.Observed, "", settings).Streams {
					s.Streams[change.Name] = &jetstream.Stream{Config: change.Config}
				}
				s.settle()
			},
			want: pass.Want{Next: "resync"},
		},
		"a user attaches a stage": {
			change: func(s *scene) { s.attach("validate") },
			done:   func(in decide.Desired, o *outcome) { madeStreams(in, o); compiled(in, o) },
			want:   pass.Want{Ready: "Reconciling Progressing", Conditions: unmade, Events: "Normal Created, Normal Progressing", Next: "fresh"},
		},
	}
}

// suspend has all stages rest.
func (s *scene) suspend() {
	s.t.Helper()
	s.edit(func(p *v1alpha1.PipelineSpec) { p.Suspend = true })
	s.settle()
	for _, name := range []string{"validate", "correlate"} {
		says(s.stage(name), metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	}
}

// specs are rows about the manifest.
func specs() map[string]row {
	wrong := func(s *scene) { s.edit(func(p *v1alpha1.PipelineSpec) { p.Stages[1].From = []string{"nobody"} }) }
	refused := pass.Want{
		Ready: "Stalled Invalid", Conditions: "Accepted False Invalid, StreamsReady Unknown Invalid, StagesReady Unknown Invalid",
		Events: "Warning Invalid, Normal Invalid, Normal Invalid", Next: "resync",
	}
	still := refused
	still.Events = ""
	return map[string]row{
		"the spec is refused, and no revision was ever accepted":    {before: func(s *scene) { empty(s); wrong(s) }, want: still},
		"the spec is refused, and the stages run what was accepted": {change: wrong, want: refused},
		"the spec is mended": {
			before: wrong,
			change: func(s *scene) {
				s.edit(func(p *v1alpha1.PipelineSpec) { p.Stages[1].From = []string{"validate"} })
				s.settle()
			},
			want: pass.Want{Events: "Normal Accepted, Normal Ready, Normal Ready, Normal Ready", Next: "fresh"},
		},
		"the spec changes the number of lanes of a stage": {
			change: func(s *scene) {
				s.edit(func(p *v1alpha1.PipelineSpec) {
					p.Stages[0].From = []string{"correlate"}
					p.Stages[1].From = []string{"ingress"}
				})
			},
			want: refused,
		},
		"an attached stage does not fit": {
			change: func(s *scene) { s.attach("nobody") },
			want:   pass.Want{Next: "resync"},
		},
	}
}

// natsFails are rows in which NATS does not do what it is asked for.
func natsFails() map[string]row {
	fails := func(reason string) pass.Want {
		return pass.Want{
			Ready: "Reconciling " + reason, Conditions: "StreamsReady False " + reason, Events: "Warning " + reason, Next: "after 5s",
		}
	}
	asking := func(err error) func(*scene) { return func(s *scene) { s.NATSErr, s.Streams = err, nil } }
	long := fails("NATSUnreachable")
	long.Events, long.Next = "", "after 30s"
	return map[string]row{
		"NATS stops answering":                           {change: asking(silent), want: fails("NATSUnreachable")},
		"NATS stops answering while streams are written": {done: func(_ decide.Desired, o *outcome) { o.natsErr = silent }, want: fails("NATSUnreachable")},
		"NATS has not answered for a minute":             {before: asking(silent), change: func(*scene) {}, want: long},
		"NATS does not let the operator ask":             {change: asking(forbidden), want: fails("NATSForbidden")},
		"NATS has no JetStream":                          {change: asking(noStream), want: fails("NATSUnreachable")},
		"the Secret with the credentials is missing":     {change: asking(missing), want: fails("CredentialsNotFound")},
		"the Secret is not for this server":              {change: asking(unpaired), want: fails("CredentialsNotForServer")},
		"NATS answers with an error of its own":          {change: asking(errors.New("internal error")), want: fails("StreamFailed")},
		"the account has no room for a stream": {
			done: func(_ decide.Desired, o *outcome) { o.refusals[raw] = full }, want: fails("StreamFailed"),
		},
		"the account has no room for snapshots": {
			done: func(in decide.Desired, o *outcome) {
				for _, change := range in.Streams {
					if change.Optional {
						o.spared[change.Name] = full
					}
				}
			},
			want: pass.Want{Next: "resync"},
		},
		"a new pipeline finds no NATS": {
			before: empty,
			change: func(s *scene) { s.Pipeline.Status = v1alpha1.PipelineStatus{}; asking(silent)(s) },
			done:   madeStages(apply.Created, "obs-validate", "obs-correlate"),
			want: pass.Want{
				Ready: "Reconciling NATSUnreachable", Conditions: "StreamsReady False NATSUnreachable, " + unmade,
				Events: "Normal Created, Warning NATSUnreachable", Next: "after 5s",
			},
		},
		"NATS answers again": {
			before: asking(silent),
			change: func(s *scene) { s.NATSErr, s.Streams = nil, healthy(s.t).Streams },
			want:   pass.Want{Events: "Normal Ready, Normal Ready", Next: "fresh"},
		},
	}
}

// streams are rows about single streams.
func streams() map[string]row {
	theirs := func(name func(decide.Desired) string) func(*scene) {
		return func(s *scene) {
			s.Streams[name(decide.Decide(s.Observed, "", settings))].Config.Metadata = map[string]string{jetstream.MetadataPipeline: "shop/other"}
		}
	}
	refused := func(reason string) pass.Want {
		return pass.Want{Ready: "Stalled " + reason, Conditions: "StreamsReady False " + reason, Events: "Warning " + reason, Next: "fresh"}
	}
	updated := func(in decide.Desired, o *outcome) {
		for _, change := range in.Streams {
			if change.Action == jetstream.ActionUpdate {
				o.updated = append(o.updated, change)
			}
		}
	}
	return map[string]row{
		"the stream of a port is somebody else's": {change: theirs(func(decide.Desired) string { return raw }), want: refused("NotOwned")},
		"the bucket of the leases is somebody else's": {
			change: theirs(func(in decide.Desired) string {
				for _, change := range in.Streams {
					if change.Bucket == "leases" {
						return change.Name
					}
				}
				return ""
			}), want: refused("NotOwned"),
		},
		"a stream differs in what cannot be changed": {
			change: func(s *scene) { s.Streams[raw].Config.Sealed = true }, want: func() pass.Want {
				w := refused("ImmutableField")
				w.Next = "resync"
				return w
			}(),
		},
		"somebody deleted a stream": {
			change: func(s *scene) { delete(s.Streams, raw) }, done: madeStreams,
			want: pass.Want{Events: "Warning Repaired", Next: "resync"},
		},
		"somebody edited a stream": {
			change: func(s *scene) { s.Streams[raw].Config.MaxAge = time.Second }, done: updated,
			want: pass.Want{Events: "Warning Repaired", Next: "resync"},
		},
		"the spec changes a stream": {
			change: func(s *scene) {
				s.Pipeline.Generation++
				s.Streams[raw].Config.MaxAge = time.Second
				s.plan()
				s.settle()
			}, done: updated,
			want: pass.Want{Events: "Normal Updated", Next: "resync"},
		},
		"a former pipeline of the name left a stream": {
			change: func(s *scene) { s.Streams[raw].Config.Metadata[jetstream.MetadataOwnerUID] = "former" }, done: updated,
			want: pass.Want{Events: "Normal Updated", Next: "resync"},
		},
		"a stream is not part of the plan any more": {
			change: func(s *scene) {
				s.Pipeline.Status.Streams = append(s.Pipeline.Status.Streams, v1alpha1.StreamStatus{Name: "OLD"})
			},
			want: pass.Want{Events: "Normal Retained", Next: "fresh"},
		},
		"a stream is not part of the plan any more, and NATS does not answer": {
			change: func(s *scene) {
				s.Pipeline.Status.Streams = append(s.Pipeline.Status.Streams, v1alpha1.StreamStatus{Name: "OLD"})
				s.NATSErr = silent
			},
			want: pass.Want{
				Ready: "Reconciling NATSUnreachable", Conditions: "StreamsReady False NATSUnreachable", Events: "Warning NATSUnreachable", Next: "after 5s",
			},
		},
	}
}

// kubernetesFails are rows in which the API server does not do what it is asked for.
func kubernetesFails() map[string]row {
	refused := pass.Want{
		Ready: "Stalled ObjectRefused", Conditions: "StagesReady False ObjectRefused", Events: "Warning ObjectRefused", Next: "after 1s",
	}
	passing := pass.Want{
		Ready: "Reconciling StagesNotReady", Conditions: "StagesReady False StagesNotReady", Events: "Warning StagesNotReady", Next: "rate limited",
	}
	conflict, long := passing, refused
	conflict.Next = "after " + apply.CatchUp.String()
	long.Events, long.Next = "", "after 30s"
	terminating := apierrors.NewForbidden(stages, "obs-validate", errors.New("namespace shop is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	return map[string]row{
		"the API server finds a Stage invalid":                      {done: failed(invalid()), want: refused},
		"a policy is against a Stage":                               {done: failed(apierrors.NewForbidden(stages, "obs-validate", errors.New("no"))), want: refused},
		"the API server has refused a Stage for a minute":           {first: failed(invalid()), done: failed(invalid()), want: long},
		"the API server does not answer in time":                    {done: failed(apierrors.NewTimeoutError("busy", 1)), want: passing},
		"one Stage is refused, and another meets a passing failure": {done: failed(errors.Join(invalid(), apierrors.NewTimeoutError("busy", 1))), want: passing},
		"the namespace is being deleted":                            {done: failed(terminating), want: passing},
		"somebody wrote a Stage meanwhile":                          {done: failed(apierrors.NewConflict(stages, "obs-validate", nil)), want: conflict},
		"the cache is behind what was written into a Stage":         {done: func(_ decide.Desired, o *outcome) { o.behind = true }, want: pass.Want{Next: conflict.Next}},
		"the Stage controller wrote the status of a Stage meanwhile": {
			done: func(_ decide.Desired, o *outcome) { o.accepted = apierrors.NewConflict(stages, "obs-validate", nil) }, want: pass.Want{Next: conflict.Next},
		},
		"what is said of a Stage cannot be written": {
			done: func(_ decide.Desired, o *outcome) { o.accepted = apierrors.NewTimeoutError("busy", 1) }, want: pass.Want{Next: "rate limited"},
		},
		"the revisions of a stage are of a newer release": {
			change: func(s *scene) { s.Running["obs-validate"] = decide.Running{Unreadable: errors.New("another format")} }, want: refused,
		},
	}
}

// stageRows are rows about what the stages say.
func stageRows() map[string]row {
	progressing := pass.Want{Ready: "Reconciling Progressing", Conditions: unmade, Events: "Normal Progressing", Next: "resync"}
	serious := pass.Want{
		Ready: "Reconciling StagesNotReady", Conditions: "StagesReady False StagesNotReady", Events: "Warning StagesNotReady", Next: "resync",
	}
	stalled := serious
	stalled.Ready = "Stalled StagesNotReady"
	is := func(reason string) func(*scene) {
		return func(s *scene) { says(s.stage("validate"), metav1.ConditionFalse, reason) }
	}
	after := func(event string, w pass.Want) pass.Want {
		w.Events = event + ", " + w.Events
		return w
	}
	return map[string]row{
		"the workers of a stage are being replaced": {change: is(v1alpha1.ReasonProgressing), want: progressing},
		"a stage drains a former input":             {change: is(v1alpha1.ReasonEventsLeft), want: progressing},
		"the workers of a stage do not come up":     {change: is(v1alpha1.ReasonWorkersUnavailable), want: serious},
		"the consumers of a stage are missing":      {change: is(v1alpha1.ReasonConsumerFailed), want: serious},
		"a stage needs a person":                    {change: func(s *scene) { stalls(s.stage("validate")) }, want: stalled},
		"one stage needs a person, another is being replaced": {
			change: func(s *scene) {
				stalls(s.stage("validate"))
				says(s.stage("correlate"), metav1.ConditionFalse, v1alpha1.ReasonProgressing)
			}, want: stalled,
		},
		"a stage has not been looked at": {change: func(s *scene) { s.stage("validate").Generation++; s.settle(); s.stage("validate").Generation++ }, want: progressing},
		"a stage runs another revision than its newest": {
			change: func(s *scene) { s.stage("validate").Status.ObservedRevision = "obs-validate-0" }, want: progressing,
		},
		"somebody deleted a Stage": {
			change: func(s *scene) { s.Stages.Children = s.Stages.Children[:1] },
			done:   madeStages(apply.Created, "obs-validate"),
			want:   after("Warning Repaired", progressing),
		},
		"somebody edited a Stage": {done: madeStages(apply.Updated, "obs-validate"), want: after("Warning Repaired", progressing)},
		"the spec changes a Stage": {
			change: func(s *scene) { s.edit(func(*v1alpha1.PipelineSpec) {}); s.settle() },
			done:   madeStages(apply.Updated, "obs-validate"), want: after("Normal Updated", progressing),
		},
		"an entry is taken out": {
			change: func(s *scene) { s.edit(func(p *v1alpha1.PipelineSpec) { p.Stages = p.Stages[:1] }); s.settle() },
			done:   func(in decide.Desired, o *outcome) { o.pruned = []string{in.Prune[0].Name} },
			want:   pass.Want{Ready: progressing.Ready, Conditions: unmade, Events: "Normal Retained, Normal Retained, Normal Retained, Normal Deleted, Normal Progressing", Next: "fresh"},
		},
		"a Stage that was taken out drains": {
			change: func(s *scene) {
				old := child("old")
				old.DeletionTimestamp = new(metav1.NewTime(began))
				s.Stages.Children = append(s.Stages.Children, old)
			}, want: progressing,
		},
		"somebody else has a Stage of the name": {
			change: func(s *scene) {
				s.Stages.Children = s.Stages.Children[:1]
				s.Taken["obs-validate"] = &v1alpha1.Stage{Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "other"}}}
			},
			want: pass.Want{Ready: "Stalled NotOwned", Conditions: "StagesReady False NotOwned", Events: "Warning NotOwned", Next: "fresh"},
		},
	}
}

// powerSafeRows are rows about durability PowerSafe.
func powerSafeRows() map[string]row {
	minute := "after " + status.Spread(time.Minute, "pipeline-uid").String()
	demand := func(answer durability.Answer) func(*scene) {
		return func(s *scene) { s.Pipeline.Spec.Streams.Durability, s.synced = v1alpha1.DurabilityPowerSafe, answer }
	}
	return map[string]row{
		"the NATS server syncs every message": {before: demand(durability.Synced), want: pass.Want{Conditions: "PowerSafe True Synced", Next: minute}},
		"the NATS server does not sync every message": {
			before: demand(durability.Synced), change: demand(durability.NotSynced),
			want: pass.Want{Ready: "Stalled NotSynced", Conditions: "PowerSafe False NotSynced", Events: "Warning NotSynced", Next: "fresh"},
		},
		"whether the NATS server syncs is not known": {
			change: demand(durability.Unknown),
			want:   pass.Want{Conditions: "PowerSafe Unknown NotVerified", Events: "Normal NotVerified", Next: "fresh"},
		},
		"whether a NATS server of the user's syncs is not known": {
			change: func(s *scene) {
				demand(durability.Synced)(s)
				s.Pipeline.Spec.NATS = &v1alpha1.NATSSpec{URL: "nats://theirs:4222"}
			},
			want: pass.Want{Conditions: "PowerSafe Unknown NotVerified", Events: "Normal NotVerified", Next: "fresh"},
		},
		"durability PowerSafe is not demanded any more": {
			before: demand(durability.Synced), change: func(s *scene) { s.Pipeline.Spec.Streams.Durability = "" }, want: pass.Want{Next: "resync"},
		},
	}
}

// deadLetters are rows about events that a stage could not process.
func deadLetters() map[string]row {
	letters := func(seq uint64, stage string) func(*scene) {
		return func(s *scene) {
			s.Streams[decide.DeadLetterStream(s.Resolved.Plan)].State.Msgs = seq
			s.DeadLetters = []jetstream.DeadLetter{{Sequence: seq, Stored: began, Stage: stage, Reason: "invalid", Error: "no id"}}
		}
	}
	return map[string]row{
		"dead letters appeared":              {change: letters(1, "validate"), want: pass.Want{Events: "Warning DeadLettered", Next: "fresh"}},
		"more dead letters of the same kind": {before: letters(1, "validate"), change: letters(2, "validate"), want: pass.Want{Next: "fresh"}},
		"dead letters of another stage":      {before: letters(1, "validate"), change: letters(2, "correlate"), want: pass.Want{Events: "Warning DeadLettered", Next: "fresh"}},
	}
}
