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
	if object.GetDeletionTimestamp() != nil {
		return "it is being deleted, and KEDA has to let it go"
	}
	// Ready is Unknown before KEDA has looked, and when one of several triggers fails.
	if ready := condition(object, "Ready"); ready["status"] == "False" || ready["reason"] == "PartialTriggerError" {
		return words(ready)
	}
	// Of the HorizontalPodAutoscaler that KEDA has made, which is off while there is no worker.
	if hpa := condition(object, "HPAActive"); hpa["status"] == "False" && hpa["reason"] != "ScalingDisabled" {
		return words(hpa)
	}
	return ""
}

// words are the message of a condition or, without one, its reason.
func words(condition map[string]any) string {
	if message, _ := condition["message"].(string); message != "" {
		return message
	}
	return fmt.Sprintf("%v is %v: %v", condition["type"], condition["status"], condition["reason"])
}

// Paused says whether KEDA leaves the number alone because somebody asked it to, by one of its annotations.
func Paused(object *unstructured.Unstructured) bool {
	return condition(object, "Paused")["status"] == "True"
}
