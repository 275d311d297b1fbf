// Package decide is a test case.
package decide
