// Package sinks accounts for every event that sinks keep, while their workers and their targets are killed, frozen and
// started again by lot.
//
// A backlog is published first. Some of its events are such that the target refuses them. Real workers (test/rig) store it in a
// real target, with faults all along. In the end each event is in the target once, or in the dead letters once.
//
//	go test ./test/sinks                              # a few seeds
//	go test ./test/sinks -args -seeds 20 -events 1000000 -faults 30   # make chaos
package sinks
