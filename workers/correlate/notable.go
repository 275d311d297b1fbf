package correlate

import (
	"strings"

	"millrace.dev/millrace/workers/event"
)

const severityWarn = 13

// signalOf tells whether an event is notable, and as what. Severity and type alone decide about
// nearly all events.
func signalOf(e *event.Event) (signal, bool) {
	if !e.Marked() {
		return 0, false // nearly all events: signalByType holds no other types, and a takeover reads no others (OnlyMarked)
	}
	if s, ok := signalByType[e.Type]; ok {
		if s == signalEviction && voluntary(e) {
			s = signalDisruption
		}
		return s, true
	}
	if strings.HasPrefix(e.Type, "millrace.") {
		return 0, false // what a pipeline made is no observation
	}
	warns := e.Severity >= severityWarn
	// The kubelet and the node controller publish some failures as Normal.
	if warns || e.Type == "k8s.event" {
		if s, verdict := signalOfReason(e); verdict != unknown {
			return s, verdict == known
		}
	}
	if !warns && !(e.Type == "k8s.event" && oddType(e)) {
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

// oddType says whether the type of a Kubernetes Event is neither of the two that Kubernetes documents.
// Who takes the trouble to write "Error" warns.
func oddType(e *event.Event) bool {
	k, _ := e.KubernetesEvent()
	return k.Type != "" && k.Type != "Normal"
}

// voluntary says whether somebody asked for the end of a pod: a drain, a deletion, the garbage
// collection of pods. Kubernetes starts another pod by its own plan then.
func voluntary(e *event.Event) bool {
	switch reason, _ := e.Attribute("k8s.pod.condition.reason"); reason.Text() {
	case "EvictionByEvictionAPI", "DeletionByPodGC":
		return true
	case "TerminationByKubelet", "DeletionByTaintManager", "PreemptionByScheduler":
		return false
	}
	return e.Severity > 0 && e.Severity < severityWarn
}

// verdict is what a reason alone says of an event.
type verdict uint8

const (
	unknown verdict = iota // look at the rest of the event
	known
	harmless // no failure, whatever its severity
)

// signalOfReason judges a Kubernetes event by its reason, and where one reason has several meanings, by
// its object and its note.
func signalOfReason(e *event.Event) (signal, verdict) {
	reason := e.KubernetesReason()
	switch reason {
	case "":
		return 0, unknown
	case "NodeNotReady":
		if e.Entity.Kind != "Node" {
			return signalNotReady, known // the node controller says so of every pod on the node
		}
	case "TaintManagerEviction":
		if strings.HasPrefix(e.Body, "Cancelling") {
			return 0, harmless // an eviction that is taken back
		}
	case "FailedCreate":
		if strings.Contains(e.Body, "being terminated") || strings.Contains(e.Body, "already exists") {
			return 0, harmless // its namespace goes away, or the controller's cache is late
		}
	case "BackOff": // shared: only the note tells a crash loop from an image pull
		switch {
		case strings.Contains(e.Body, "restarting failed"):
			return signalCrashLoop, known
		case strings.Contains(e.Body, "image"):
			return signalImagePull, known
		}
		return 0, unknown
	case "Failed":
		if strings.Contains(e.Body, "image") || strings.Contains(e.Body, "ImagePull") {
			return signalImagePull, known
		}
		return signalStartFailure, known
	}
	if s, ok := signalByReason[reason]; ok {
		return s, known
	}
	if s, ok := signalByKindAndReason[e.Entity.Kind+"/"+reason]; ok {
		return s, known
	}
	return 0, unknown
}
