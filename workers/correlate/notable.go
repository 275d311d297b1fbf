package correlate

import (
	"strings"

	"millrace.dev/millrace/workers/event"
)

// signal is the kind of a notable event, as the rules know it.
type signal uint8

// The signals, in the order of their names: what is looked for in several kinds of events is found
// in this order. What is a warning or worse and no known kind is signalOther.
const (
	signalConfigChange signal = iota
	signalRestart
	signalStartFailure
	signalCrashLoop
	signalErrorLog
	signalEviction
	signalImageChange
	signalImagePull
	signalMount
	signalNodeNotReady
	signalNodePressure
	signalOOM
	signalOther
	signalPodFailed
	signalNotReady
	signalUnhealthy
	signalErrorSpan
	signalScaling
	signalUnschedulable
	signals
)

var signalNames = [signals]string{
	signalConfigChange:  "config-change",
	signalRestart:       "container-restart",
	signalStartFailure:  "container-start-failure",
	signalCrashLoop:     "crash-loop",
	signalErrorLog:      "error-log",
	signalEviction:      "eviction",
	signalImageChange:   "image-change",
	signalImagePull:     "image-pull-failure",
	signalMount:         "mount-failure",
	signalNodeNotReady:  "node-not-ready",
	signalNodePressure:  "node-pressure",
	signalOOM:           "oom-kill",
	signalOther:         "other",
	signalPodFailed:     "pod-failed",
	signalNotReady:      "pod-not-ready",
	signalUnhealthy:     "probe-failure",
	signalErrorSpan:     "request-failure",
	signalScaling:       "scaling",
	signalUnschedulable: "unschedulable",
}

// String returns the name, as insights say it.
func (s signal) String() string { return signalNames[s] }

// signalByType are the event types that say what happened by themselves. All begin with k8s.
var signalByType = map[string]signal{
	"k8s.pod.oom_killed":            signalOOM,
	"k8s.pod.crash_loop_back_off":   signalCrashLoop,
	"k8s.pod.image_pull_back_off":   signalImagePull,
	"k8s.pod.restarted":             signalRestart,
	"k8s.pod.failed":                signalPodFailed,
	"k8s.pod.evicted":               signalEviction,
	"k8s.pod.unschedulable":         signalUnschedulable,
	"k8s.pod.not_ready":             signalNotReady,
	"k8s.node.not_ready":            signalNodeNotReady,
	"k8s.node.memory_pressure":      signalNodePressure,
	"k8s.node.disk_pressure":        signalNodePressure,
	"k8s.node.pid_pressure":         signalNodePressure,
	"k8s.deployment.image_changed":  signalImageChange,
	"k8s.deployment.config_changed": signalConfigChange,
	"k8s.deployment.scaled":         signalScaling,
}

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
}

// signalByClass are the classes of the semantic enricher that rules know: a user's own semantic rule
// says by them what a warning is. One that is to make an event notable sets its severity, too.
var signalByClass = func() map[string]signal {
	m := map[string]signal{"memory-pressure": signalNodePressure, "disk-pressure": signalNodePressure, "pid-pressure": signalNodePressure}
	for _, table := range []map[string]signal{signalByType, signalByReason} {
		for _, s := range table {
			m[s.String()] = s
		}
	}
	m[signalErrorSpan.String()], m[signalErrorLog.String()] = signalErrorSpan, signalErrorLog
	return m
}()

const severityWarn = 13

// signalOf tells whether an event is notable, and as what. What is not is told from its
// severity and type alone.
func signalOf(e *event.Event) (signal, bool) {
	if !e.Marked() {
		return 0, false // nearly all events: signalByType holds no other types, and a takeover reads no others (OnlyMarked)
	}
	if s, ok := signalByType[e.Type]; ok {
		return s, true
	}
	if strings.HasPrefix(e.Type, "millrace.") {
		return 0, false // what a pipeline made is no observation
	}
	// The kubelet and the node controller tell some of these as Normal.
	if e.Severity >= severityWarn || e.Type == "k8s.event" {
		if s, ok := signalOfReason(e); ok {
			return s, true
		}
	}
	if e.Severity < severityWarn {
		return 0, false
	}
	if c, ok := e.Semantic(); ok {
		if s, ok := signalByClass[c.Class]; ok {
			return s, true
		}
	}
	if span, ok := e.Span(); ok && span.Status == "error" {
		return signalErrorSpan, true
	}
	if e.Type == "app.log" && e.Severity >= 17 {
		return signalErrorLog, true
	}
	return signalOther, true
}

func signalOfReason(e *event.Event) (signal, bool) {
	reason := e.KubernetesReason()
	if reason == "" {
		return 0, false
	}
	if s, ok := signalByReason[reason]; ok {
		if s == signalNodeNotReady && e.Entity.Kind != "Node" {
			s = signalNotReady // the node controller says so of every pod on the node
		}
		return s, true
	}
	// BackOff and Failed are shared: only the note tells a crash loop from an image pull.
	switch reason {
	case "BackOff":
		if strings.Contains(e.Body, "restarting failed") {
			return signalCrashLoop, true
		}
		return signalImagePull, strings.Contains(e.Body, "image")
	case "Failed":
		if strings.Contains(e.Body, "image") || strings.Contains(e.Body, "ImagePull") {
			return signalImagePull, true
		}
		return signalStartFailure, true
	}
	return 0, false
}
