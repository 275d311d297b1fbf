package keda

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersionKind of a ScaledObject. Its API has been v1alpha1 since 2020.
func GroupVersionKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"}
}

// New is an empty ScaledObject, to be read into.
func New() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(GroupVersionKind())
	return object
}

// Trouble is what a ScaledObject says when KEDA cannot do its work with it; empty when it can, or has not
// looked yet.
func Trouble(object *unstructured.Unstructured) string {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions") // KEDA's own: of its shape or empty
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if condition["type"] != "Ready" || condition["status"] != "False" {
			continue
		}
		if message, _ := condition["message"].(string); message != "" {
			return message
		}
		reason, _ := condition["reason"].(string)
		return "not ready: " + reason
	}
	return ""
}

// Paused says whether somebody asked KEDA to leave the number alone, by one of its annotations.
func Paused(object *unstructured.Unstructured) bool {
	for name, value := range object.GetAnnotations() {
		if name == "autoscaling.keda.sh/paused-replicas" || (name == "autoscaling.keda.sh/paused" && value == "true") {
			return true
		}
	}
	return false
}
