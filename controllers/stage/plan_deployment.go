package stage

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/labels"
)

const (
	containerName = "worker"
	httpPort      = 8080
	// exitMargin is what the pod's grace period leaves beyond the drain, in seconds.
	exitMargin = 10
	// progressDeadline is when a rollout counts as failed, in seconds.
	progressDeadline = 180
)

// deploymentSpec is the spec of the Deployment of a stage's workers. It says nothing of their number, nor
// of the revision that they mount. Values that the API server would fill in inside atomic structs are
// written out, so that a comparison finds no difference.
func deploymentSpec(s *snapshot, settings Settings) *appsv1ac.DeploymentSpecApplyConfiguration {
	pipeline, name := s.stage.Spec.PipelineRef.Name, graph.Name(s.stage)
	template := corev1ac.PodTemplateSpec().
		WithLabels(workerLabels(s)).
		WithSpec(podSpec(s, settings))
	if value := restart(s); value != "" {
		template.WithAnnotations(map[string]string{v1alpha1.AnnotationRestart: value})
	}
	return appsv1ac.DeploymentSpec().
		WithRevisionHistoryLimit(3).
		WithProgressDeadlineSeconds(progressDeadline).
		WithStrategy(strategy()).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels.Selector(pipeline, name))).
		WithTemplate(template)
}

// strategy has the successors ready before workers end: they take over their lanes at once.
func strategy() *appsv1ac.DeploymentStrategyApplyConfiguration {
	return appsv1ac.DeploymentStrategy().
		WithType(appsv1.RollingUpdateDeploymentStrategyType).
		WithRollingUpdate(appsv1ac.RollingUpdateDeployment().
			WithMaxSurge(intstr.FromString("25%")).
			WithMaxUnavailable(intstr.FromInt32(0)))
}

func podSpec(s *snapshot, settings Settings) *corev1ac.PodSpecApplyConfiguration {
	drain := time.Duration(s.node.Config.DrainTimeout)
	spec := corev1ac.PodSpec().
		WithTerminationGracePeriodSeconds(int64(drain.Round(time.Second)/time.Second)+exitMargin).
		WithAutomountServiceAccountToken(s.node.Config.ReadsCluster()).
		WithEnableServiceLinks(false).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithTopologySpreadConstraints(spreadOver(s, corev1.LabelHostname), spreadOver(s, corev1.LabelTopologyZone)).
		WithContainers(container(s, settings)).
		WithVolumes(corev1ac.Volume().WithName("tmp").WithEmptyDir(corev1ac.EmptyDirVolumeSource()))
	if files := s.files(); len(files) > 0 {
		spec.WithVolumes(corev1ac.Volume().WithName(natsVolume).WithProjected(natsSources(files)))
	}
	if account := serviceAccount(s, settings); account != "" {
		spec.WithServiceAccountName(account)
	}
	if selector := s.spec().Workers.NodeSelector; len(selector) > 0 {
		spec.WithNodeSelector(selector)
	}
	return spec
}

// spec is the node as the user wrote it.
func (s *snapshot) spec() v1alpha1.StageNode { return graph.Spec(s.stage, s.pipeline) }

func serviceAccount(s *snapshot, settings Settings) string {
	if name := s.spec().Workers.ServiceAccountName; name != "" {
		return name
	}
	if s.node.Config.ReadsCluster() {
		return settings.ServiceAccount
	}
	return ""
}

func spreadOver(s *snapshot, key string) *corev1ac.TopologySpreadConstraintApplyConfiguration {
	return corev1ac.TopologySpreadConstraint().
		WithTopologyKey(key).WithMaxSkew(1).WithWhenUnsatisfiable(corev1.ScheduleAnyway).
		WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(labels.Selector(s.stage.Spec.PipelineRef.Name, graph.Name(s.stage)))).
		WithMatchLabelKeys(appsv1.DefaultDeploymentUniqueLabelKey)
}

func container(s *snapshot, settings Settings) *corev1ac.ContainerApplyConfiguration {
	node := s.spec()
	image := settings.Image
	if node.Workers.Image != "" {
		image = node.Workers.Image
	}
	c := corev1ac.Container().
		WithName(containerName).WithImage(image).
		// The brackets are for IPv6; an IPv4 address may stand in them as well.
		WithArgs("worker", "--config", configDir+"/"+configKey, "--listen", "[$(POD_IP)]:"+strconv.Itoa(httpPort)).
		WithPorts(corev1ac.ContainerPort().WithName("http").WithContainerPort(httpPort).WithProtocol(corev1.ProtocolTCP)).
		WithEnv(fieldEnv("POD_IP", "status.podIP"), fieldEnv("POD_NAME", "metadata.name")).
		WithEnv(settings.Tracing.env()...).
		WithReadinessProbe(probe("/readyz", 3, 2)).
		WithLivenessProbe(probe("/healthz", 10, 6).WithInitialDelaySeconds(10)).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithReadOnlyRootFilesystem(true).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(
			corev1ac.VolumeMount().WithName(configVolume).WithMountPath(configDir).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("tmp").WithMountPath("/tmp"))
	if len(s.files()) > 0 {
		c.WithArgs("--nats-files", natsDir)
		c.WithVolumeMounts(corev1ac.VolumeMount().WithName(natsVolume).WithMountPath(natsDir).WithReadOnly(true))
	}
	return withResources(c, node.Workers.Resources)
}

// withResources sets the resources, and the soft memory limit of the Go runtime to nine
// tenths of the memory limit: without it the heap may grow past what the kernel allows.
func withResources(c *corev1ac.ContainerApplyConfiguration, r v1alpha1.ResourcesSpec) *corev1ac.ContainerApplyConfiguration {
	if len(r.Limits)+len(r.Requests) > 0 {
		resources := corev1ac.ResourceRequirements()
		if len(r.Limits) > 0 {
			resources.WithLimits(r.Limits)
		}
		if len(r.Requests) > 0 {
			resources.WithRequests(r.Requests)
		}
		c.WithResources(resources)
	}
	if limit, ok := r.Limits[corev1.ResourceMemory]; ok {
		c.WithEnv(corev1ac.EnvVar().WithName("GOMEMLIMIT").WithValue(strconv.FormatInt(limit.Value()/10*9, 10)))
	}
	return c
}

func fieldEnv(name, path string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName(name).WithValueFrom(corev1ac.EnvVarSource().
		WithFieldRef(corev1ac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(path)))
}

func probe(path string, period, failures int32) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString("http"))).
		WithPeriodSeconds(period).WithTimeoutSeconds(2).WithFailureThreshold(failures)
}
