// Package v1alpha1 is a test case.
package v1alpha1
