// Package http sends events to an HTTP server: CloudEvents in JSON, several in a request.
//
// A server has no transaction that could hold the place of a lane, so an event arrives at least once. A request has the events of one
// message of the input, or a part of them that is always the same, and its id is a hash of where they stand there and of the body (request.go). So
// what is sent again, by the same worker or by the next one, has the same id, and a server that remembers ids takes it once.
//
// An answer says whose fault it is (answer.go). What blames the content of the request is tried again in halves, to find the events to blame. Anything else
// that is no success blames nobody: the lane waits, as long as the server asks for.
package http
