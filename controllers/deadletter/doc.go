// Package deadletter is `millrace dlq`: what to do with events that a stage could not process.
//
// Replay publishes dead letters again, each as it was received: the body, and the headers of its sender, such as the
// ce-* attributes of a binary CloudEvent. The headers that say why it died stay behind. It reads messages by their
// sequence, makes no consumer, and deletes nothing: the position of a lane is in its last dead letter.
//
// Everything goes to the ingress. The streams between stages are fenced, so that a stranger's message would stop a
// lane. The id of a message names the dead letter, so that a replay which is repeated within the duplicate window of
// the ingress stores each once. The event keeps its own id.
package deadletter
