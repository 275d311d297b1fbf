// Package cleanup bounds for how long the deletion of an object waits for a server that does not answer.
//
// What counts is since when this operator fails, not when the object was deleted: a deletion may have waited for
// something else until then, or for an operator.
package cleanup
