// Package responders accounts for every event that a gather stage asks about, while its workers and their responders are killed; and runs the
// responders of docs/stages/gather.md as they stand there.
package responders
