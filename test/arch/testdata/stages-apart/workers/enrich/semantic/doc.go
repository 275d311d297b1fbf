// Package semantic is a test case.
package semantic
