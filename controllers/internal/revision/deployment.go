package revision

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/workers/config"
)

// ConfigKey is the member of the ConfigMap that holds the config.
const ConfigKey = "stage.json"

// Where a worker finds its files.
const (
	configVolume = "config"
	configDir    = "/etc/millrace"
	natsVolume   = "nats"
	natsDir      = "/etc/millrace-nats"
	// secretsDir is where a worker looks for Secrets by itself (worker --secret-files).
	secretsVolume = "secrets"
	secretsDir    = "/etc/millrace-secrets" //nolint:gosec // a folder
	modelsVolume  = "models"
	modelsDir     = "/etc/millrace-models"
)

const (
	containerName = "worker"
	httpPort      = 8080
	// exitMargin is what the pod's grace period leaves beyond the drain, in seconds.
	exitMargin = 10
	// progressDeadline is when a rollout counts as failed, in seconds.
	progressDeadline = 180
)

// deployment is the spec of the Deployment of a stage's workers. It says nothing of their number, nor
// of the ConfigMap that they mount. Values that the API server would fill in inside atomic structs are
// written out, so that a comparison finds no difference.
func (from Source) deployment(settings Settings) *appsv1ac.DeploymentSpecApplyConfiguration {
	pipeline := from.Pipeline.Name
	template := corev1ac.PodTemplateSpec().
		WithLabels(labels.Workers(pipeline, from.Node.Name, string(from.Node.Config.Kind))).
		WithSpec(from.pod(settings))
	if value := from.restart(); value != "" {
		template.WithAnnotations(map[string]string{v1alpha1.AnnotationRestart: value})
	}
	return appsv1ac.DeploymentSpec().
		WithRevisionHistoryLimit(3).
		WithProgressDeadlineSeconds(progressDeadline).
		WithStrategy(strategy()).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels.Selector(pipeline, from.Node.Name))).
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

func (from Source) pod(settings Settings) *corev1ac.PodSpecApplyConfiguration {
	drain := time.Duration(from.Node.Config.DrainTimeout)
	spec := corev1ac.PodSpec().
		WithTerminationGracePeriodSeconds(int64(drain.Round(time.Second)/time.Second)+exitMargin).
		WithAutomountServiceAccountToken(from.Node.Config.ReadsCluster()).
		WithEnableServiceLinks(false).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithTopologySpreadConstraints(from.spreadOver(corev1.LabelHostname), from.spreadOver(corev1.LabelTopologyZone)).
		WithContainers(from.container(settings)).
		WithVolumes(corev1ac.Volume().WithName("tmp").WithEmptyDir(corev1ac.EmptyDirVolumeSource()))
	if files := from.files(); len(files) > 0 {
		spec.WithVolumes(corev1ac.Volume().WithName(natsVolume).WithProjected(natsSources(files)))
	}
	if len(from.Node.Secrets) > 0 {
		spec.WithVolumes(corev1ac.Volume().WithName(secretsVolume).WithProjected(secretSources(from.Node.Secrets)))
	}
	if len(from.Node.Models) > 0 {
		spec.WithVolumes(corev1ac.Volume().WithName(modelsVolume).WithProjected(modelSources(from.Node.Models)))
	}
	if account := from.serviceAccount(settings); account != "" {
		spec.WithServiceAccountName(account)
	}
	if selector := from.Spec.Workers.NodeSelector; len(selector) > 0 {
		spec.WithNodeSelector(selector)
	}
	return spec
}

func (from Source) serviceAccount(settings Settings) string {
	if name := from.Spec.Workers.ServiceAccountName; name != "" {
		return name
	}
	if from.Node.Config.ReadsCluster() {
		return settings.ServiceAccount
	}
	return ""
}

func (from Source) spreadOver(key string) *corev1ac.TopologySpreadConstraintApplyConfiguration {
	return corev1ac.TopologySpreadConstraint().
		WithTopologyKey(key).WithMaxSkew(1).WithWhenUnsatisfiable(corev1.ScheduleAnyway).
		WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(labels.Selector(from.Pipeline.Name, from.Node.Name))).
		WithMatchLabelKeys(appsv1.DefaultDeploymentUniqueLabelKey)
}

func (from Source) container(settings Settings) *corev1ac.ContainerApplyConfiguration {
	image := settings.Image
	if from.Spec.Workers.Image != "" {
		image = from.Spec.Workers.Image
	}
	c := corev1ac.Container().
		WithName(containerName).WithImage(image).
		// The brackets are for IPv6; an IPv4 address may stand in them as well.
		WithArgs("worker", "--config", configDir+"/"+ConfigKey, "--listen", "[$(POD_IP)]:"+strconv.Itoa(httpPort)).
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
	if len(from.files()) > 0 {
		c.WithArgs("--nats-files", natsDir)
		c.WithVolumeMounts(corev1ac.VolumeMount().WithName(natsVolume).WithMountPath(natsDir).WithReadOnly(true))
	}
	if len(from.Node.Secrets) > 0 {
		c.WithVolumeMounts(corev1ac.VolumeMount().WithName(secretsVolume).WithMountPath(secretsDir).WithReadOnly(true))
	}
	if len(from.Node.Models) > 0 {
		c.WithArgs("--model-files", modelsDir)
		c.WithVolumeMounts(corev1ac.VolumeMount().WithName(modelsVolume).WithMountPath(modelsDir).WithReadOnly(true))
	}
	return withResources(c, from.Spec.Workers.Resources)
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

// natsSources puts them into one folder, where the kubelet replaces them when they change.
func natsSources(files []access.File) *corev1ac.ProjectedVolumeSourceApplyConfiguration {
	all := corev1ac.ProjectedVolumeSource()
	for _, f := range files {
		item := corev1ac.KeyToPath().WithKey(f.Key).WithPath(f.Name)
		if f.Kind == v1alpha1.CAConfigMap {
			all.WithSources(corev1ac.VolumeProjection().WithConfigMap(corev1ac.ConfigMapProjection().WithName(f.Object).WithItems(item)))
		} else {
			all.WithSources(corev1ac.VolumeProjection().WithSecret(corev1ac.SecretProjection().WithName(f.Object).WithItems(item)))
		}
	}
	return all
}

// secretSources are the keys of Secrets that the stage itself needs. The operator does not read them.
func secretSources(files []config.SecretFile) *corev1ac.ProjectedVolumeSourceApplyConfiguration {
	all := corev1ac.ProjectedVolumeSource()
	for _, f := range files {
		all.WithSources(corev1ac.VolumeProjection().WithSecret(corev1ac.SecretProjection().WithName(f.Name).
			WithItems(corev1ac.KeyToPath().WithKey(f.Key).WithPath(f.File))))
	}
	return all
}

// modelSources are the keys of ConfigMaps that hold models. The operator does not read them.
func modelSources(files []config.ModelFile) *corev1ac.ProjectedVolumeSourceApplyConfiguration {
	all := corev1ac.ProjectedVolumeSource()
	for _, f := range files {
		all.WithSources(corev1ac.VolumeProjection().WithConfigMap(corev1ac.ConfigMapProjection().WithName(f.Name).
			WithItems(corev1ac.KeyToPath().WithKey(f.Key).WithPath(f.File))))
	}
	return all
}

// Spec is the spec of the Deployment whose pods mount the ConfigMap of the revision.
func (c *Content) Spec() (*appsv1ac.DeploymentSpecApplyConfiguration, error) {
	spec := appsv1ac.DeploymentSpec()
	if err := json.Unmarshal(c.Deployment, spec); err != nil {
		return nil, fmt.Errorf("read the Deployment of the revision: %w", err)
	}
	if spec.Template == nil || spec.Template.Spec == nil {
		return nil, errors.New("the Deployment of the revision has no template")
	}
	spec.Template.Spec.WithVolumes(corev1ac.Volume().WithName(configVolume).WithConfigMap(corev1ac.ConfigMapVolumeSource().
		WithName(c.ConfigMap).WithItems(corev1ac.KeyToPath().WithKey(ConfigKey).WithPath(ConfigKey))))
	return spec, nil
}

// Mounted is the ConfigMap that the pods of a Deployment mount.
func Mounted(d *appsv1.Deployment) string {
	for _, v := range d.Spec.Template.Spec.Volumes {
		if v.Name == configVolume && v.ConfigMap != nil {
			return v.ConfigMap.Name
		}
	}
	return ""
}

// Replicas is the number of workers that a Deployment is to have.
func Replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1 // what the API server gives a new one
	}
	return *d.Spec.Replicas
}
