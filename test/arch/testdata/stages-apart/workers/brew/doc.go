// Package brew is a test case.
package brew
