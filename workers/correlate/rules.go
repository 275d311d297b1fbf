package correlate

import "time"

// relation is over what a cause bears on its effect.
type relation uint8

const (
	samePod relation = iota
	sameWorkload
	sameNode
	sameService
	sameTrace
	sameDependency
	relations
)

func (r relation) String() string {
	return [...]string{"same-entity", "owner", "node", "service", "same-trace", "dependency"}[r]
}

// cause is one way in which an event may come about.
type cause struct {
	of     signal
	over   relation
	within time.Duration // 0: as far as the stage is set to look
}

// class is what an event of a kind is in the life of an incident.
type class uint8

const (
	symptom  class = iota // something is broken
	change                // somebody did something: it may be a cause, and is never a symptom
	recovery              // something is well again, or gone
)

// rule says of one kind of event what may cause it, the likeliest first, and what a person
// should be told about it.
type rule struct {
	class  class
	causes []cause
	// alone says that the event is worth telling without any known cause.
	alone bool
	// lasts says that the events of an object are one state that goes on until a recovery, not one thing
	// after the other. A state takes no cause that is younger than itself.
	lasts bool
	// hold is how long the symptom must last before anybody is told: a healthy cluster shows it for a moment, too.
	hold time.Duration
	// severity of an insight about it.
	severity int32
	// says completes "<entity> ...".
	says string
	// rank orders the symptoms of an incident: the highest names it.
	rank int
}

const (
	// longSeries is how long probe failures must go on to be worth telling by themselves.
	longSeries = 10 * time.Minute
	// steadyPause is how far apart the Events of a series that goes on are: recorders send one in five minutes. Kubernetes
	// counts failures further apart in one Event, too.
	steadyPause = 6 * time.Minute
	// jobHold is how long a failure of a Job's pod waits for the Job's own verdict: the back-off between its six
	// retries lasts about that long.
	jobHold = 10 * time.Minute
)

// changesOf are the changes of a workload that may break its new pods.
func changesOf(more ...cause) []cause {
	return append(more, cause{signalConfigChange, sameWorkload, 0}, cause{signalImageChange, sameWorkload, 0}, cause{signalRestartRequest, sameWorkload, 0})
}

// failuresOf are the reasons why the pods of a workload do not run.
func failuresOf(over relation) (causes []cause) {
	for _, s := range []signal{signalCrashLoop, signalOOM, signalImagePull, signalStartFailure, signalMount, signalCreateFailure, signalUnschedulable} {
		causes = append(causes, cause{s, over, 0})
	}
	return causes
}

// rules are the causal rules. The order of causes follows the order of things in
// Kubernetes: what the same pod went through, then what was done to its workload, then
// where it runs.
var rules = [signals]rule{
	signalOOM: {
		causes: []cause{{signalImageChange, sameWorkload, 0}, {signalConfigChange, sameWorkload, 0}, {signalNodePressure, sameNode, time.Minute}},
		alone:  true, severity: 17, says: "was killed for using more memory than its limit", rank: 9,
	},
	signalCrashLoop: {
		causes: []cause{
			{signalOOM, samePod, 0},
			{signalOOM, sameWorkload, 0},
			{signalMount, samePod, 0},
			{signalStartFailure, samePod, 0},
			{signalConfigChange, sameWorkload, 0},
			{signalImageChange, sameWorkload, 0},
			{signalRestartRequest, sameWorkload, 0},
			{signalRestart, samePod, 0},
			{signalErrorLog, samePod, time.Minute},
		},
		alone: true, lasts: true, hold: 15 * time.Second, severity: 17, says: "crash-loops", rank: 10,
	},
	signalImagePull: {
		causes: []cause{{signalImageChange, sameWorkload, 0}, {signalConfigChange, sameWorkload, 0}, {signalRestartRequest, sameWorkload, 0}},
		alone:  true, lasts: true, hold: 15 * time.Second, severity: 17, says: "cannot pull its image", rank: 10,
	},
	signalStartFailure: {
		causes: changesOf(cause{signalMount, samePod, 0}),
		alone:  true, lasts: true, hold: 15 * time.Second, severity: 17, says: "cannot start its container", rank: 8,
	},
	signalRestart: {
		causes: []cause{
			{signalOOM, samePod, time.Minute},
			{signalUnhealthy, samePod, time.Minute},
			{signalConfigChange, sameWorkload, 0},
			{signalImageChange, sameWorkload, 0},
			{signalNodeNotReady, sameNode, 0},
		},
		hold: 30 * time.Second, severity: 13, says: "restarted", rank: 3,
	},
	signalNotReady: {
		causes: []cause{
			{signalCrashLoop, samePod, 0},
			{signalOOM, samePod, 0},
			{signalImagePull, samePod, 0},
			{signalMount, samePod, 0},
			{signalRestart, samePod, 0},
			{signalUnhealthy, samePod, 0},
			{signalNodeNotReady, sameNode, 0},
			{signalImageChange, sameWorkload, 0},
			{signalConfigChange, sameWorkload, 0},
		},
		alone: true, lasts: true, hold: 30 * time.Second, severity: 13, says: "is not ready", rank: 4,
	},
	signalUnhealthy: {
		causes: []cause{{signalOOM, samePod, 0}, {signalRestart, samePod, 0}, {signalImageChange, sameWorkload, 0}, {signalConfigChange, sameWorkload, 0}, {signalRestartRequest, sameWorkload, 0}},
		lasts:  true, severity: 13, says: "fails its probe", rank: 2,
	},
	signalStartOverdue: {
		causes: changesOf(append(failuresOf(samePod), cause{signalUnhealthy, samePod, 0}, cause{signalRestart, samePod, 0})...),
		alone:  true, lasts: true, severity: 17, says: "does not become ready in time", rank: 5,
	},
	signalStuck: {
		causes: changesOf(append(failuresOf(sameWorkload), cause{signalStartOverdue, sameWorkload, 0}, cause{signalNotReady, sameWorkload, 0}, cause{signalUnhealthy, sameWorkload, 0})...),
		alone:  true, lasts: true, severity: 17, says: "has a rollout that is stuck", rank: 6,
	},
	signalCreateFailure: {
		causes: append([]cause{{signalScaling, sameWorkload, 0}}, changesOf()...),
		alone:  true, lasts: true, hold: 15 * time.Second, severity: 17, says: "cannot create its pods", rank: 8,
	},
	signalJobFailed: {
		causes: append(failuresOf(sameWorkload), cause{signalPodFailed, sameWorkload, 0}, cause{signalConfigChange, sameWorkload, 0}),
		alone:  true, severity: 17, says: "has failed for good", rank: 11,
	},
	signalPodFailed: {
		causes: []cause{{signalOOM, samePod, 0}, {signalEviction, samePod, 0}, {signalNodeNotReady, sameNode, 0}},
		alone:  true, hold: 15 * time.Second, severity: 17, says: "failed", rank: 6,
	},
	signalEviction: {
		causes: []cause{{signalNodeNotReady, sameNode, 0}, {signalNodePressure, sameNode, 0}, {signalNotReady, samePod, 0}},
		alone:  true, hold: 15 * time.Second, severity: 17, says: "was evicted", rank: 6,
	},
	signalUnschedulable: {
		causes: changesOf(cause{signalEviction, sameWorkload, 0}, cause{signalScaling, sameWorkload, 0}, cause{signalDisruption, sameWorkload, 0}),
		alone:  true, lasts: true, hold: 30 * time.Second, severity: 17, says: "cannot be scheduled", rank: 7,
	},
	signalMount: {
		causes: append(changesOf(), cause{signalNodeNotReady, sameNode, 0}),
		alone:  true, lasts: true, hold: 30 * time.Second, severity: 17, says: "cannot mount a volume", rank: 7,
	},
	signalNodeNotReady: {
		causes: []cause{{signalNodePressure, sameNode, 0}},
		alone:  true, lasts: true, hold: 10 * time.Second, severity: 17, says: "is not ready", rank: 11,
	},
	signalNodePressure: {alone: true, lasts: true, hold: 15 * time.Second, severity: 13, says: "is short of memory, disk or process ids", rank: 5},
	signalErrorSpan: {
		causes: []cause{
			{signalCrashLoop, sameService, 0},
			{signalOOM, sameService, 0},
			{signalImagePull, sameService, 0},
			{signalEviction, sameService, 0},
			{signalNotReady, sameService, 0},
			{signalRestart, sameService, time.Minute},
			{signalErrorSpan, sameTrace, 0},
		},
		severity: 13, says: "answers with errors", rank: requestRank,
	},
	signalErrorLog: {
		causes:   []cause{{signalErrorSpan, sameTrace, 0}},
		severity: 13, says: "logs errors", rank: requestRank,
	},
	signalDisruption:     {class: change, causes: []cause{{signalCordon, sameNode, 0}}, severity: 9, says: "was evicted on request"},
	signalCordon:         {class: change, severity: 9, says: "was cordoned"},
	signalImageChange:    {class: change, severity: 9, says: "was given another image"},
	signalConfigChange:   {class: change, severity: 9, says: "was given another configuration"},
	signalRestartRequest: {class: change, severity: 9, says: "was restarted by hand"},
	signalScaling:        {class: change, severity: 9, says: "was scaled"},
	signalRecovered:      {class: recovery, severity: 9, says: "is well again"},
	signalDeleted:        {class: recovery, severity: 9, says: "was deleted"},
	signalOther:          {severity: 13, says: "warns"},
}

// byService are the kinds of events that a rule looks for by their service.
var byService = func() (by [signals]bool) {
	for effect := range rules {
		for _, c := range rules[effect].causes {
			if c.over == sameService {
				by[c.of], by[effect] = true, true
			}
		}
	}
	return by
}()
