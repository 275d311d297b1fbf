// Package pass compares what a pass of a controller comes to with what a row of a table wants: conditions, Events, and when the next
// pass is.
package pass
