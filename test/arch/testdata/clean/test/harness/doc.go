// Package harness is a test case.
package harness
