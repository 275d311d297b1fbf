// Package replay is `millrace replay`: a stage processes stored input again, from a time on.
//
// A replay is an attached Stage of its own, with the settings of the stage and a start time (docs/adr/0030-replay.md). The command counts what it will
// read, and makes the Stage. Workers, streams and consumers are made by the operator as for any Stage.
package replay
