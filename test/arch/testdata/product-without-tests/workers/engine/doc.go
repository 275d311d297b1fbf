// Package engine is a test case.
package engine
