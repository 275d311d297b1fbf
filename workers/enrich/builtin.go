package enrich

import "slices"

// OpenTelemetry severity numbers.
const (
	severityInfo  = 9
	severityWarn  = 13
	severityError = 17
	severityFatal = 21
)

// builtinRules is the table behind the user's rules: the first match wins, so what is
// narrower comes first. A built-in severity only raises the event's own.
//
// The reasons are those of Kubernetes 1.37: kubelet (pkg/kubelet/events), the scheduler, the
// controllers and node-problem-detector.
func builtinRules() []*rule {
	rules := slices.Concat(stateRules(), reasonRules(), logRules(), signalRules())
	for _, r := range rules {
		r.raise = true
	}
	return rules
}

// stateRules are the event types that say what happened by themselves.
func stateRules() []*rule {
	return []*rule{
		onType("k8s.pod.oom_killed", "oom-kill", categoryCapacity, severityError),
		onType("k8s.pod.crash_loop_back_off", "crash-loop", categoryAvailability, severityError),
		onType("k8s.pod.image_pull_back_off", "image-pull-failure", categoryAvailability, severityError),
		onType("k8s.pod.restarted", "container-restart", categoryAvailability, severityWarn),
		onType("k8s.pod.failed", "pod-failed", categoryAvailability, severityError),
		onType("k8s.pod.evicted", "eviction", categoryCapacity, severityWarn),
		onType("k8s.pod.unschedulable", "unschedulable", categoryCapacity, severityWarn),
		onType("k8s.pod.not_ready", "pod-not-ready", categoryAvailability, severityWarn),
		onType("k8s.node.not_ready", "node-not-ready", categoryAvailability, severityError),
		onType("k8s.node.ready", "node-ready", categoryInformation, severityInfo),
		onType("k8s.node.memory_pressure", "memory-pressure", categoryCapacity, severityWarn),
		onType("k8s.node.disk_pressure", "disk-pressure", categoryCapacity, severityWarn),
		onType("k8s.node.pid_pressure", "pid-pressure", categoryCapacity, severityWarn),
		onType("k8s.deployment.created", "deployment", categoryChange, severityInfo),
		onType("k8s.deployment.image_changed", "image-change", categoryChange, severityInfo),
		onType("k8s.deployment.config_changed", "config-change", categoryChange, severityInfo),
		onType("k8s.deployment.scaled", "scaling", categoryChange, severityInfo),
	}
}

// reasonRules are the reasons of Kubernetes events.
func reasonRules() []*rule {
	return []*rule{
		onReason("OOMKilling", "oom-kill", categoryCapacity, severityError),
		onReason("OOMKilled", "oom-kill", categoryCapacity, severityError),
		onReason("SystemOOM", "oom-kill", categoryCapacity, severityError),
		// BackOff is shared: only the note tells a crash loop from an image pull.
		onReasonText("BackOff", "pulling image", "image-pull-failure", categoryAvailability, severityError),
		onReasonText("BackOff", "restarting failed", "crash-loop", categoryAvailability, severityError),
		onReason("BackOff", "back-off", categoryAvailability, severityWarn),
		onReason("CrashLoopBackOff", "crash-loop", categoryAvailability, severityError),
		onReasonText("Failed", "pull image", "image-pull-failure", categoryAvailability, severityError),
		onReasonText("Failed", "ErrImagePull", "image-pull-failure", categoryAvailability, severityError),
		onReasonText("Failed", "ImagePullBackOff", "image-pull-failure", categoryAvailability, severityError),
		onReason("Failed", "container-start-failure", categoryAvailability, severityError),
		onReason("ErrImageNeverPull", "image-pull-failure", categoryAvailability, severityError),
		onReason("InspectFailed", "image-pull-failure", categoryAvailability, severityError),
		onReason("FailedCreatePodSandBox", "sandbox-failure", categoryAvailability, severityError),
		onReason("FailedPostStartHook", "container-start-failure", categoryAvailability, severityWarn),
		onReason("FailedPreStopHook", "container-stop-failure", categoryAvailability, severityWarn),
		onReason("FailedCreate", "pod-creation-failure", categoryAvailability, severityError),
		onReason("ReplicaSetCreateError", "rollout-failure", categoryAvailability, severityError),
		onReason("ProgressDeadlineExceeded", "rollout-failure", categoryAvailability, severityError),
		onReason("DeadlineExceeded", "job-failure", categoryAvailability, severityError),
		onReason("BackoffLimitExceeded", "job-failure", categoryAvailability, severityError),
		onReasonText("Unhealthy", "Readiness probe", "readiness-failure", categoryAvailability, severityWarn),
		onReasonText("Unhealthy", "Liveness probe", "liveness-failure", categoryAvailability, severityWarn),
		onReasonText("Unhealthy", "Startup probe", "startup-failure", categoryAvailability, severityWarn),
		onReason("Unhealthy", "probe-failure", categoryAvailability, severityWarn),
		onReason("ProbeWarning", "probe-failure", categoryAvailability, severityWarn),
		onReason("NodeNotReady", "node-not-ready", categoryAvailability, severityError),
		onReason("NodeReady", "node-ready", categoryInformation, severityInfo),
		onReason("Rebooted", "node-reboot", categoryAvailability, severityWarn),
		onReason("KubeletIsDown", "node-not-ready", categoryAvailability, severityError),
		onReason("ContainerGCFailed", "node-problem", categoryAvailability, severityWarn),
		onReason("InvalidDiskCapacity", "node-problem", categoryCapacity, severityWarn),

		onReason("FailedScheduling", "unschedulable", categoryCapacity, severityWarn),
		onReason("NotTriggerScaleUp", "unschedulable", categoryCapacity, severityWarn),
		onReason("Evicted", "eviction", categoryCapacity, severityWarn),
		onReason("EvictionThresholdMet", "eviction", categoryCapacity, severityWarn),
		onReason("Preempted", "preemption", categoryCapacity, severityWarn),
		onReason("Preempting", "preemption", categoryCapacity, severityWarn),
		onReason("TaintManagerEviction", "eviction", categoryCapacity, severityWarn),
		onReason("NodeHasInsufficientMemory", "memory-pressure", categoryCapacity, severityWarn),
		onReason("NodeHasDiskPressure", "disk-pressure", categoryCapacity, severityWarn),
		onReason("NodeHasInsufficientPID", "pid-pressure", categoryCapacity, severityWarn),
		onReason("FreeDiskSpaceFailed", "disk-pressure", categoryCapacity, severityWarn),
		onReason("ImageGCFailed", "disk-pressure", categoryCapacity, severityWarn),
		onReason("OutOfcpu", "node-full", categoryCapacity, severityError),
		onReason("OutOfmemory", "node-full", categoryCapacity, severityError),
		onReason("OutOfpods", "node-full", categoryCapacity, severityError),
		onReason("CPUThrottlingHigh", "cpu-throttling", categoryPerformance, severityWarn),

		onReason("FailedMount", "volume-failure", categoryAvailability, severityError),
		onReason("FailedMapVolume", "volume-failure", categoryAvailability, severityError),
		onReason("FailedAttachVolume", "volume-failure", categoryAvailability, severityError),
		onReason("FailedDetachVolume", "volume-failure", categoryAvailability, severityWarn),
		onReason("FailedBinding", "volume-failure", categoryAvailability, severityWarn),
		onReason("ProvisioningFailed", "volume-failure", categoryAvailability, severityError),
		onReason("VolumeResizeFailed", "volume-failure", categoryCapacity, severityWarn),
		onReason("NetworkNotReady", "network-failure", categoryNetwork, severityError),
		onReason("FailedToUpdateEndpoint", "endpoint-failure", categoryNetwork, severityWarn),
		onReason("FailedToUpdateEndpointSlices", "endpoint-failure", categoryNetwork, severityWarn),
		onReason("DNSConfigForming", "dns-problem", categoryNetwork, severityWarn),
		onReason("SyncLoadBalancerFailed", "load-balancer-failure", categoryNetwork, severityError),
		onReason("FailedGetResourceMetric", "autoscaling-failure", categoryPerformance, severityWarn),
		onReason("FailedComputeMetricsReplicas", "autoscaling-failure", categoryPerformance, severityWarn),
		onReason("FailedValidation", "policy-violation", categorySecurity, severityWarn),
		onReason("PolicyViolation", "policy-violation", categorySecurity, severityWarn),

		onReason("ScalingReplicaSet", "scaling", categoryChange, 0),
		onReason("SuccessfulRescale", "scaling", categoryChange, 0),
		onReason("DeploymentRollback", "rollback", categoryChange, 0),
		onReason("SuccessfulCreate", "pod-created", categoryChange, 0),
		onReason("SuccessfulDelete", "pod-deleted", categoryChange, 0),
		onReason("Killing", "container-stop", categoryChange, 0),
		onReason("TriggeredScaleUp", "cluster-scaling", categoryChange, 0),
		onReason("ScaleDown", "cluster-scaling", categoryChange, 0),
		onReason("NodeNotSchedulable", "node-cordoned", categoryChange, 0),
		onReason("NodeSchedulable", "node-uncordoned", categoryChange, 0),
		onReason("RegisteredNode", "node-added", categoryChange, 0),
		onReason("RemovingNode", "node-removed", categoryChange, 0),
		onReason("Scheduled", "scheduling", categoryInformation, 0),
		onReason("Pulling", "image-pull", categoryInformation, 0),
		onReason("Pulled", "image-pull", categoryInformation, 0),
		onReason("Created", "container-start", categoryInformation, 0),
		onReason("Started", "container-start", categoryInformation, 0),
		onReason("SuccessfulAttachVolume", "volume", categoryInformation, 0),
		onReason("SuccessfulMountVolume", "volume", categoryInformation, 0),
		onReason("Provisioning", "volume", categoryInformation, 0),
		onReason("ProvisioningSucceeded", "volume", categoryInformation, 0),
		onReason("NodeHasSufficientMemory", "node-healthy", categoryInformation, 0),
		onReason("NodeHasNoDiskPressure", "node-healthy", categoryInformation, 0),
		onReason("NodeHasSufficientPID", "node-healthy", categoryInformation, 0),
		onReason("Starting", "node-start", categoryInformation, 0),
		onReason("LeaderElection", "leader-election", categoryInformation, 0),
		onReason("Completed", "job-completed", categoryInformation, 0),
	}
}

// logRules read error logs: text that runtimes and libraries write, not words of one program.
func logRules() []*rule {
	return []*rule{
		onError("OutOfMemoryError", "out-of-memory", categoryCapacity),
		onError("out of memory", "out-of-memory", categoryCapacity),
		onError("no space left on device", "disk-full", categoryCapacity),
		onError("too many open files", "file-limit", categoryCapacity),
		onError("connection refused", "connection-failure", categoryNetwork),
		onError("connection reset", "connection-failure", categoryNetwork),
		onError("no such host", "dns-failure", categoryNetwork),
		onError("no route to host", "connection-failure", categoryNetwork),
		onError("i/o timeout", "timeout", categoryNetwork),
		onError("deadline exceeded", "timeout", categoryPerformance),
		onError("timed out", "timeout", categoryPerformance),
		onError("x509:", "certificate-failure", categorySecurity),
		onError("certificate", "certificate-failure", categorySecurity),
		onError("permission denied", "permission-denied", categorySecurity),
		onError("nauthorized", "permission-denied", categorySecurity), // Unauthorized, unauthorized
		onError("panic:", "crash", categoryAvailability),
		onError("Traceback (most recent call last)", "exception", categoryAvailability),
		onError("segmentation fault", "crash", categoryAvailability),
		{id: "log/error", typ: "app.log", minSeverity: severityError, class: "error-log", category: categoryAvailability},
		{id: "log/warning", typ: "app.log", minSeverity: severityWarn, class: "warning-log", category: categoryInformation},
		{id: "log", typ: "app.log", class: "log", category: categoryInformation},
	}
}

// signalRules are what is left: plain observations.
func signalRules() []*rule {
	return []*rule{
		{id: "request/error", typ: "app.request", minSeverity: severityError, class: "request-failure", category: categoryAvailability},
		{id: "request/slow", typ: "app.request", minSeverity: severityWarn, class: "request-degraded", category: categoryPerformance},
		{id: "request", typ: "app.request", class: "request", category: categoryInformation},
		{id: "metric", typ: "metric.sample", class: "measurement", category: categoryInformation},
		{id: "network/error", typ: "network.flow", minSeverity: severityWarn, class: "network-failure", category: categoryNetwork},
		{id: "network", typ: "network.flow", class: "network-flow", category: categoryInformation},
		{id: "kernel/error", typ: "kernel.syscall", minSeverity: severityWarn, class: "syscall-failure", category: categoryAvailability},
		{id: "kernel", typ: "kernel.syscall", class: "syscall", category: categoryInformation},
		{id: "kubernetes/warning", typ: "k8s.event", minSeverity: severityWarn, class: "kubernetes-warning", category: categoryAvailability},
		{id: "kubernetes", typ: "k8s.event", class: "kubernetes-event", category: categoryInformation},
	}
}

func onType(typ, class, category string, severity int32) *rule {
	return &rule{id: "type/" + typ, typ: typ, class: class, category: category, severity: severity}
}

func onReason(reason, class, category string, severity int32) *rule {
	return &rule{id: "reason/" + reason, typ: "k8s.event", reason: reason, class: class, category: category, severity: severity}
}

func onReasonText(reason, text, class, category string, severity int32) *rule {
	r := onReason(reason, class, category, severity)
	r.id += "/" + class
	r.contains = text
	return r
}

func onError(text, class, category string) *rule {
	return &rule{id: "log/" + class, typ: "app.log", contains: text, minSeverity: severityWarn, class: class, category: category}
}
