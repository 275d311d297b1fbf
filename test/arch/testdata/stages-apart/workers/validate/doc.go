// Package validate is a test case.
package validate
