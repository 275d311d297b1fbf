// Package crd is a test case.
package crd
