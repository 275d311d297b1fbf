// Package crd holds the CustomResourceDefinitions of Pipeline and Stage, as controller-gen
// writes them from api/v1alpha1: for `millrace lint`, which checks manifests against them
// without a cluster, and for tests.
package crd
