// Package event is a test case.
package event
