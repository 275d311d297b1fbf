// Package pipeline is a test case.
package pipeline
