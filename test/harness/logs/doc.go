// Package logs holds the Buffer that a test gives to a program as its log, and reads while the
// program writes.
package logs
