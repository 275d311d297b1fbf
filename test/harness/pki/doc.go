// Package pki issues certificates for the servers and clients of tests.
package pki
