// Package plan is a test case.
package plan
