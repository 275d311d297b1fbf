// Package v1alpha1 holds the Pipeline and Stage custom resources.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package=applyconfiguration
// +groupName=millrace.dev
package v1alpha1
