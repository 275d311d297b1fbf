package kubernetes

import "strings"

// The kinds that are watched.
const (
	kindEvent       = "Event"
	kindPod         = "Pod"
	kindNode        = "Node"
	kindDeployment  = "Deployment"
	kindStatefulSet = "StatefulSet"
	kindDaemonSet   = "DaemonSet"
	kindReplicaSet  = "ReplicaSet"
	kindJob         = "Job"
	kindCronJob     = "CronJob"
)

// firstKinds are the kinds that the first releases watched. Their heads do not name them.
var firstKinds = []string{kindEvent, kindPod, kindNode, kindDeployment}

// kinds are in the order of the feeds.
var kinds = []string{
	kindEvent, kindPod, kindNode, kindDeployment, kindStatefulSet, kindDaemonSet, kindReplicaSet, kindJob, kindCronJob,
}

// The event types, as docs/collectors.md lists them. Those of workloads are typeOf a kind.
const (
	typeEvent = "k8s.event"

	typePodReady         = "k8s.pod.ready"
	typePodSucceeded     = "k8s.pod.succeeded"
	typePodStartOverdue  = "k8s.pod.start_overdue"
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
	typeNodePressureEnded  = "k8s.node.pressure_ended"
	typeNodeCordoned       = "k8s.node.cordoned"
	typeNodeUncordoned     = "k8s.node.uncordoned"
)

// What happens to workloads: the last part of an event type, and of an aspect.
const (
	whatCreated         = "created"
	whatDeleted         = "deleted" // of pods and nodes, too
	whatImage           = "image_changed"
	whatConfig          = "config_changed"
	whatRestart         = "restart_requested"
	whatScaled          = "scaled"
	whatRolloutComplete = "rollout_complete"
	whatDeadline        = "progress_deadline_exceeded"
	whatReplicaFailure  = "replica_failure"
	whatFailed          = "failed"
	whatComplete        = "complete"
	whatSuspended       = "suspended"
)

// typeOf is an event type of a kind: k8s.statefulset.scaled.
func typeOf(kind, what string) string { return "k8s." + strings.ToLower(kind) + "." + what }

// kindOfType is the kind of the object that an event type of this collector is about.
func kindOfType(typ string) string {
	if typ == typeEvent {
		return kindEvent
	}
	rest, ok := strings.CutPrefix(typ, "k8s.")
	name, _, dotted := strings.Cut(rest, ".")
	if !ok || !dotted {
		return ""
	}
	for _, kind := range kinds {
		if kind != kindEvent && strings.ToLower(kind) == name {
			return kind
		}
	}
	return ""
}
