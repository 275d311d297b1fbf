// Package keda knows what the operator has to know of KEDA: its kind ScaledObject, whether the cluster has
// it, and what a ScaledObject says of itself.
//
// KEDA's own types would bring a hundred modules into the binary; the operator writes a dozen fields of one
// kind, so they are unstructured here.
package keda
