// Package kubernetes is a collector.
package kubernetes
