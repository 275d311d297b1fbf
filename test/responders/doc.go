// Package responders counts what becomes of every event that a gather stage asks about while workers and responders are killed. It also runs the
// two responders of docs/stages/gather.md as the page has them.
package responders
