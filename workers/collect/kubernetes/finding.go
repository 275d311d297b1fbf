package kubernetes

import (
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// The kinds that are watched.
const (
	kindEvent      = "Event"
	kindPod        = "Pod"
	kindNode       = "Node"
	kindDeployment = "Deployment"
)

var kinds = []string{kindEvent, kindPod, kindNode, kindDeployment}

// The event types, as docs/events.md lists them.
const (
	typeEvent = "k8s.event"

	typePodOOMKilled     = "k8s.pod.oom_killed"
	typePodCrashLoop     = "k8s.pod.crash_loop_back_off"
	typePodImagePull     = "k8s.pod.image_pull_back_off"
	typePodRestarted     = "k8s.pod.restarted"
	typePodFailed        = "k8s.pod.failed"
	typePodEvicted       = "k8s.pod.evicted"
	typePodUnschedulable = "k8s.pod.unschedulable"
	typePodNotReady      = "k8s.pod.not_ready"

	typeNodeNotReady       = "k8s.node.not_ready"
	typeNodeReady          = "k8s.node.ready"
	typeNodeMemoryPressure = "k8s.node.memory_pressure"
	typeNodeDiskPressure   = "k8s.node.disk_pressure"
	typeNodePIDPressure    = "k8s.node.pid_pressure"

	typeDeploymentCreated = "k8s.deployment.created"
	typeDeploymentImage   = "k8s.deployment.image_changed"
	typeDeploymentConfig  = "k8s.deployment.config_changed"
	typeDeploymentScaled  = "k8s.deployment.scaled"
)

// OpenTelemetry severity numbers.
const (
	severityInfo  = 9
	severityWarn  = 13
	severityError = 17
)

// finding is a value of an aspect that the ledger does not have yet.
type finding struct {
	aspect, value string
	// event is what to publish; nil only records the value. Its id, source, cluster and
	// observed time are filled in later.
	event *eventv1.Event
	// at is when it happened; zero = it lasts.
	at time.Time
}

// past tells what was published about an object before.
type past struct {
	record *record
	// old says that the object was there before the collector's first start: what happened
	// to it before that is not counted.
	old bool
}

func (p past) value(aspect string) string { return p.record.value(aspect) }

// number is the leading integer of a value; -1 = there is no value.
func number(value string) int64 {
	text, _, _ := strings.Cut(value, ".")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// later tells whether a value of the form <unix seconds>.<anything> is newer than the last
// one: of a later second, or different within the same.
func later(value, last string) bool {
	n, before := number(value), number(last)
	return n > before || n == before && value != last
}

// counted is a count that went up: by how much, seen from what was published before.
func (p past) counted(aspect string, count int64) (delta int64) {
	if last := number(p.value(aspect)); last >= 0 {
		return count - last
	}
	if p.old {
		return min(count, 1)
	}
	return count
}

func unix(t metav1.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// nanos is t in Unix nanoseconds; 0 = unset.
func nanos(t time.Time) uint64 {
	if t.IsZero() || t.Unix() <= 0 {
		return 0
	}
	return uint64(t.UnixNano())
}

func stringValue(key, value string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}}
}

func intValue(key string, value int64) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_IntValue{IntValue: value}}
}

// controllerRef is the controller of an object as a related reference; nil without.
func controllerRef(o *metav1.ObjectMeta) []*eventv1.EntityRef {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil {
		return nil
	}
	return []*eventv1.EntityRef{{
		Kind: ref.Kind, Namespace: o.Namespace, Name: ref.Name, Uid: string(ref.UID), ApiVersion: ref.APIVersion, Role: "owner",
	}}
}
