// Package process runs the child processes of the test harness: control-plane
// binaries, NATS servers and the containers of the node agent.
//
// Each child leads its own process group and is killed as a group, so that
// nothing it forked survives it. On Linux it also dies with its parent
// (Pdeathsig), even when the parent is killed or a test times out.
package process
