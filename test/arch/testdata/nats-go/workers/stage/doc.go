// Package stage is a test case.
package stage
