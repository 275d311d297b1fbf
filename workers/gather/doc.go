// Package gather is the stage that asks responders about events, and merges their answers into these: scatter-gather (Hohpe and Woolf,
// Enterprise Integration Patterns). Responders listen on a NATS subject, or are HTTP servers that are all asked.
//
// A batch is a round (round.go). It is cut into requests, of one event or of several. A request is closed by a quorum of answers, by a number of
// replies, or by its timeout; when all requests of a round are closed, the answers are merged and the events decided about (merge.go), and the
// engine stores rounds in the order of the input. Rounds wait side by side (stage.Async): no goroutine waits for a request, but those of the
// HTTP pools.
//
//	queue    rounds whose requests are to be sent, in order; each target has one
//	target   nats.go sends, and one subscription takes all replies; http.go has a pool for each endpoint
//	round    what came for each event, and what is open
//
// Requests are paced by their replies: a target has at most maxInFlight requests that nobody has replied to. A target that lets a request
// time out and has replied to none since that was sent is silent: what is left of the round is not asked. So a responder that is slow or dead
// costs a round one timeout, however many events it has.
//
// Cost for each event: a CloudEvent is written, and a small JSON object read for each reply (go test ./workers/gather -bench .).
package gather
