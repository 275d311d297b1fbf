// Package golden compares what a test made with what a file says. The file is written anew by
// go test -update, and read in the diff.
package golden
