package correlate

// signal is the kind of a notable event, as the rules know it.
type signal uint8

// The signals, in the order of their names: what is looked for in several kinds of events is found
// in this order. What is a warning or worse and no known kind is signalOther.
const (
	signalConfigChange signal = iota
	signalRestart
	signalStartFailure
	signalCordon
	signalCrashLoop
	signalCreateFailure
	signalDeleted
	signalDisruption
	signalErrorLog
	signalEviction
	signalImageChange
	signalImagePull
	signalJobFailed
	signalMount
	signalNodeNotReady
	signalNodePressure
	signalOOM
	signalOther
	signalPodFailed
	signalNotReady
	signalUnhealthy
	signalRecovered
	signalErrorSpan
	signalRestartRequest
	signalStuck
	signalScaling
	signalStartOverdue
	signalUnschedulable
	signals
)

var signalNames = [signals]string{
	signalConfigChange:   "config-change",
	signalRestart:        "container-restart",
	signalStartFailure:   "container-start-failure",
	signalCordon:         "cordon",
	signalCrashLoop:      "crash-loop",
	signalCreateFailure:  "create-failure",
	signalDeleted:        "deleted",
	signalDisruption:     "disruption",
	signalErrorLog:       "error-log",
	signalEviction:       "eviction",
	signalImageChange:    "image-change",
	signalImagePull:      "image-pull-failure",
	signalJobFailed:      "job-failed",
	signalMount:          "mount-failure",
	signalNodeNotReady:   "node-not-ready",
	signalNodePressure:   "node-pressure",
	signalOOM:            "oom-kill",
	signalOther:          "other",
	signalPodFailed:      "pod-failed",
	signalNotReady:       "pod-not-ready",
	signalUnhealthy:      "probe-failure",
	signalRecovered:      "recovered",
	signalErrorSpan:      "request-failure",
	signalRestartRequest: "restart-request",
	signalStuck:          "rollout-stuck",
	signalScaling:        "scaling",
	signalStartOverdue:   "start-overdue",
	signalUnschedulable:  "unschedulable",
}

// String returns the name, as insights say it.
func (s signal) String() string { return signalNames[s] }

// signalByType are the event types that say what happened by themselves. All begin with k8s.
var signalByType = func() map[string]signal {
	m := map[string]signal{
		"k8s.pod.oom_killed":          signalOOM,
		"k8s.pod.crash_loop_back_off": signalCrashLoop,
		"k8s.pod.image_pull_back_off": signalImagePull,
		"k8s.pod.restarted":           signalRestart,
		"k8s.pod.failed":              signalPodFailed,
		"k8s.pod.evicted":             signalEviction,
		"k8s.pod.unschedulable":       signalUnschedulable,
		"k8s.pod.not_ready":           signalNotReady,
		"k8s.pod.start_overdue":       signalStartOverdue,
		"k8s.pod.ready":               signalRecovered,
		"k8s.pod.succeeded":           signalRecovered,
		"k8s.pod.deleted":             signalDeleted,
		"k8s.node.not_ready":          signalNodeNotReady,
		"k8s.node.memory_pressure":    signalNodePressure,
		"k8s.node.disk_pressure":      signalNodePressure,
		"k8s.node.pid_pressure":       signalNodePressure,
		"k8s.node.cordoned":           signalCordon,
		"k8s.node.ready":              signalRecovered,
		typePressureEnded:             signalRecovered,
		"k8s.node.deleted":            signalDeleted,
		"k8s.job.failed":              signalJobFailed,
		"k8s.job.complete":            signalRecovered,
	}
	for _, kind := range []string{"deployment", "statefulset", "daemonset", "replicaset", "job", "cronjob"} {
		for what, s := range map[string]signal{
			"image_changed": signalImageChange, "config_changed": signalConfigChange, "restart_requested": signalRestartRequest,
			"scaled": signalScaling, "rollout_complete": signalRecovered, "deleted": signalDeleted,
			"progress_deadline_exceeded": signalStuck, "replica_failure": signalCreateFailure,
		} {
			m["k8s."+kind+"."+what] = s
		}
	}
	return m
}()

// typePressureEnded ends the pressure on a node, and not that it is not ready.
const typePressureEnded = "k8s.node.pressure_ended"

// signalByReason are the reasons of Kubernetes events that need no look at the text.
var signalByReason = map[string]signal{
	"OOMKilling": signalOOM, "OOMKilled": signalOOM, "SystemOOM": signalOOM,
	"CrashLoopBackOff": signalCrashLoop, "ErrImagePull": signalImagePull, "ImagePullBackOff": signalImagePull,
	"ErrImageNeverPull": signalImagePull, "InspectFailed": signalImagePull,
	"FailedScheduling": signalUnschedulable, "Evicted": signalEviction, "TaintManagerEviction": signalEviction,
	"Preempted": signalEviction, "Unhealthy": signalUnhealthy, "NodeNotReady": signalNodeNotReady,
	"FailedMount": signalMount, "FailedAttachVolume": signalMount, "FailedMapVolume": signalMount,
	"NodeHasDiskPressure": signalNodePressure, "NodeHasInsufficientMemory": signalNodePressure,
	"EvictionThresholdMet": signalNodePressure,
	"FailedCreate":         signalCreateFailure, "ProgressDeadlineExceeded": signalStuck,
}

// signalByKindAndReason are the reasons that say what happened together with the kind of their object.
var signalByKindAndReason = map[string]signal{
	"Job/BackoffLimitExceeded": signalJobFailed, "Job/DeadlineExceeded": signalJobFailed, "Job/PodFailurePolicy": signalJobFailed,
	"Job/FailedIndexes": signalJobFailed, "Job/MaxFailedIndexesExceeded": signalJobFailed, "Job/Completed": signalRecovered,
	"Node/NodeReady": signalRecovered, "Node/RemovingNode": signalDeleted, "Node/NodeNotSchedulable": signalCordon,
}

// signalByClass are the classes of the semantic enricher that rules know: a user's own semantic rule
// says by them what a warning is. One that is to make an event notable sets its severity, too. No warning
// is the end of another.
var signalByClass = func() map[string]signal {
	m := map[string]signal{"memory-pressure": signalNodePressure, "disk-pressure": signalNodePressure, "pid-pressure": signalNodePressure}
	for s := range signals {
		if s != signalOther && rules[s].class != recovery {
			m[s.String()] = s
		}
	}
	return m
}()
