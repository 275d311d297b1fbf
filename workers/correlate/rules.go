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
	relations
)

func (r relation) String() string {
	return [...]string{"same-entity", "owner", "node", "service", "same-trace"}[r]
}

// cause is one way in which an event may come about.
type cause struct {
	of     signal
	over   relation
	within time.Duration // 0: as far as the stage is set to look
}

// rule says of one kind of event what may cause it, the likeliest first, and what a person
// should be told about it.
type rule struct {
	causes []cause
	// alone says that the event is worth telling without any known cause.
	alone bool
	// severity of an insight about it.
	severity int32
	// says completes "<entity> ...".
	says string
	// rank orders the symptoms of an incident: the highest names it.
	rank int
}

// rules are the causal rules. The order of causes follows the order of things in
// Kubernetes: what the same pod went through, then what was done to its workload, then
// where it runs.
var rules = [signals]rule{
	signalOOM: {
		causes: []cause{{signalImageChange, sameWorkload, 0}, {signalConfigChange, sameWorkload, 0}, {signalNodePressure, sameNode, time.Minute}},
		alone:  true, severity: 17, says: "was killed for using more memory than its limit", rank: 8,
	},
	signalCrashLoop: {
		causes: []cause{
			{signalOOM, samePod, 0},
			{signalOOM, sameWorkload, 0},
			{signalMount, samePod, 0},
			{signalStartFailure, samePod, 0},
			{signalConfigChange, sameWorkload, 0},
			{signalImageChange, sameWorkload, 0},
			{signalRestart, samePod, 0},
			{signalErrorLog, samePod, time.Minute},
		},
		alone: true, severity: 17, says: "crash-loops", rank: 9,
	},
	signalImagePull: {
		causes: []cause{{signalImageChange, sameWorkload, 0}},
		alone:  true, severity: 17, says: "cannot pull its image", rank: 9,
	},
	signalStartFailure: {
		causes: []cause{{signalMount, samePod, 0}, {signalConfigChange, sameWorkload, 0}, {signalImageChange, sameWorkload, 0}},
		alone:  true, severity: 17, says: "cannot start its container", rank: 7,
	},
	signalRestart: {
		causes: []cause{
			{signalOOM, samePod, time.Minute},
			{signalUnhealthy, samePod, time.Minute},
			{signalConfigChange, sameWorkload, 0},
			{signalImageChange, sameWorkload, 0},
			{signalNodeNotReady, sameNode, 0},
		},
		severity: 13, says: "restarted", rank: 2,
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
		severity: 13, says: "is not ready", rank: 3,
	},
	signalUnhealthy: {
		causes:   []cause{{signalOOM, samePod, 0}, {signalRestart, samePod, 0}, {signalImageChange, sameWorkload, 0}, {signalConfigChange, sameWorkload, 0}},
		severity: 13, says: "fails its probe", rank: 3,
	},
	signalPodFailed: {
		causes: []cause{{signalOOM, samePod, 0}, {signalEviction, samePod, 0}, {signalNodeNotReady, sameNode, 0}},
		alone:  true, severity: 17, says: "failed", rank: 5,
	},
	signalEviction: {
		causes: []cause{{signalNodeNotReady, sameNode, 0}, {signalNodePressure, sameNode, 0}, {signalNotReady, samePod, 0}},
		alone:  true, severity: 17, says: "was evicted", rank: 5,
	},
	signalUnschedulable: {
		causes: []cause{{signalEviction, sameWorkload, 0}, {signalScaling, sameWorkload, 0}, {signalImageChange, sameWorkload, 0}, {signalConfigChange, sameWorkload, 0}},
		alone:  true, severity: 17, says: "cannot be scheduled", rank: 6,
	},
	signalMount: {
		causes: []cause{{signalConfigChange, sameWorkload, 0}, {signalNodeNotReady, sameNode, 0}},
		alone:  true, severity: 17, says: "cannot mount a volume", rank: 6,
	},
	signalNodeNotReady: {
		causes: []cause{{signalNodePressure, sameNode, 0}},
		alone:  true, severity: 17, says: "is not ready", rank: 10,
	},
	signalNodePressure: {alone: true, severity: 13, says: "is short of memory, disk or process ids", rank: 4},
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
	signalImageChange:  {severity: 9, says: "was given another image"},
	signalConfigChange: {severity: 9, says: "was given another configuration"},
	signalScaling:      {severity: 9, says: "was scaled"},
	signalOther:        {severity: 13, says: "warns"},
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
