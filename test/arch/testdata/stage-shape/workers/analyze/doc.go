// Package analyze is a test case.
package analyze
