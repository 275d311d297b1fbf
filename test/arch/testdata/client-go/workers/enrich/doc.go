// Package enrich is a test case.
package enrich
