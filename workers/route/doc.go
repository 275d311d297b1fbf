// Package route is the stage that sends each event to the ports whose rules take it, by the event alone. The ports share the stream of the
// stage: each is a token of its subjects, so a port costs no stream, and a reader one consumer.
//
// Rules are conditions of workers/cel, asked in order. A rule may take a share of the keys only (Sample): the same keys at any worker and at any
// time, and other ones for another port. A larger share takes the keys of a smaller one and more.
//
// An event on several ports is stored once on each in the same step of the engine. One that no rule takes leaves by the default port, or
// ends here and is counted as filtered. One on which a rule cannot be evaluated is a dead letter: where it belongs is not known.
package route
