// Package local is a test case.
package local
