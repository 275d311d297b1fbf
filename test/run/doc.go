// Package run tries `millrace run` and `millrace lint` as a user does: the built binary,
// its files, its exit codes and what it prints.
package run
