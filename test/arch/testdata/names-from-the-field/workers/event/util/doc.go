// Package util is a test case.
package util
