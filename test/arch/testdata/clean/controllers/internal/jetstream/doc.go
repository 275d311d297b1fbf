// Package jetstream is a test case.
package jetstream
