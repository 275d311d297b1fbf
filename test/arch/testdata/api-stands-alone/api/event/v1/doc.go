// Package v1 is a test case.
package v1
