// Package manifest is a test case.
package manifest
