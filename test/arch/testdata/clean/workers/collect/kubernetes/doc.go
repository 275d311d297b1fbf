// Package kubernetes is a test case.
package kubernetes
