// Package worker is a test case.
package worker
