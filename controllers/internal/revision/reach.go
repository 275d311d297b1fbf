package revision

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// sameReach says whether pods that are there have no more rights, and read nothing else, than those that this release makes. A release
// before revisions made pods of what it found in a ConfigMap, which people may write who may not make pods. What differs
// from release to release is not compared: the tag of the image, arguments, resources, probes.
func sameReach(have, made *corev1ac.PodSpecApplyConfiguration) bool {
	same := equality.Semantic.DeepEqual
	if !same(have.ServiceAccountName, made.ServiceAccountName) || !same(have.AutomountServiceAccountToken, made.AutomountServiceAccountToken) ||
		!same(have.SecurityContext, made.SecurityContext) || have.HostNetwork != nil || have.HostPID != nil || have.HostIPC != nil ||
		len(have.InitContainers) > 0 || len(have.Containers) != len(made.Containers) {
		return false
	}
	for i, c := range have.Containers {
		m := made.Containers[i]
		if !same(c.Name, m.Name) || repository(c.Image) != repository(m.Image) || !same(c.Command, m.Command) ||
			!same(c.SecurityContext, m.SecurityContext) || len(c.EnvFrom) > 0 || readsObjects(c.Env) {
			return false
		}
	}
	for _, v := range have.Volumes {
		if !hasVolume(made.Volumes, v) {
			return false
		}
	}
	return true
}

// readsObjects says whether a variable has a value of a Secret or of a ConfigMap, as those of workers never have.
func readsObjects(env []corev1ac.EnvVarApplyConfiguration) bool {
	for _, v := range env {
		if from := v.ValueFrom; from != nil && (from.SecretKeyRef != nil || from.ConfigMapKeyRef != nil) {
			return true
		}
	}
	return false
}

func hasVolume(all []corev1ac.VolumeApplyConfiguration, v corev1ac.VolumeApplyConfiguration) bool {
	for _, o := range all {
		if equality.Semantic.DeepEqual(o, v) {
			return true
		}
	}
	return false
}

// repository of an image, without tag and digest.
func repository(image *string) string {
	if image == nil {
		return ""
	}
	name, _, _ := strings.Cut(*image, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") { // the port of a registry has one too
		name = name[:colon]
	}
	return name
}
