// Package route is a test case.
package route
