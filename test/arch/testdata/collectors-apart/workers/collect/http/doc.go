// Package http is a collector.
package http
