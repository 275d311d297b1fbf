package keda

import (
	"fmt"

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

// condition is one of a ScaledObject's conditions; empty when it has none of this type.
func condition(object *unstructured.Unstructured, kind string) map[string]any {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions") // KEDA's own: of its shape or empty
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			return c
		}
	}
	return nil
}

// Trouble is what a ScaledObject says when KEDA cannot do its work with it; empty when it can, or has not
// looked yet.
func Trouble(object *unstructured.Unstructured) string {
	ready := condition(object, "Ready")
	// Unknown is it before KEDA has looked, and when one of several triggers fails.
	if ready["status"] != "False" && ready["reason"] != "PartialTriggerError" {
		return ""
	}
	if message, _ := ready["message"].(string); message != "" {
		return message
	}
	return fmt.Sprintf("not ready: %v", ready["reason"])
}

// Paused says whether KEDA leaves the number alone because somebody asked it to, by one of its annotations.
func Paused(object *unstructured.Unstructured) bool {
	return condition(object, "Paused")["status"] == "True"
}
