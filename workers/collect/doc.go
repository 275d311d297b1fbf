// Package collect has what every collector shares: how events get into a stream, and how a collector finds out where it stood.
// A collector is a source, which knows where events come from, and the publisher of this package, which knows NATS. Each source is a
// package below this one; it knows no other source.
//
// # Parts
//
//   - Flags adds the flags that all collectors have, connects, and serves metrics and health.
//   - WaitForNATS, OpenBucket and FindStream wait for what is not there yet. Replay reads back what a collector published.
//   - Publisher takes items from a bounded Queue, packs their events into frames, and publishes one frame after another. It repeats
//     an attempt until the stream acknowledges the frame. What NATS never takes (a frame that is too large or does not encode) it drops
//     alone, counts and logs.
//   - Store keeps checkpoints in a NATS KV bucket: Shards keys, of which only changed ones are written, and a head, written last.
//
// # Promises
//
// Nothing is dropped to make room: a full queue holds the source up. Nobody learns that an event is stored, and no checkpoint covers
// it, before the PubAck. A collector that has its subject for itself publishes each frame only behind the last message that it knows
// (Nats-Expected-Last-Subject-Sequence), so a second one on the subject ends with ErrSuperseded, or ends the first one. Where several
// share a subject (Options.Shared), a frame whose PubAck got lost is stored once within the duplicate window of the
// stream; a client that repeats a request makes another frame, and a validate stage with dedupe finds the repeated ids.
//
// After the end of the context the publisher stores what is on the queue, for DrainTimeout at most.
//
// # A new collector
//
// There are two sorts. One watches something that can be read again, and has to know what it has published: package kubernetes. Its
// source puts Items on Queue.In, now and then with a Checkpoint, and at the start it loads the checkpoint and replays the frames behind it:
//
//	saved, found, err := store.Load(ctx)
//	last, _, err := stream.Replay(ctx, saved.After(stream), apply)
//	p, err := collect.NewPublisher(collect.Options{Store: store, Last: last, ...})
//	err = p.Run(ctx, watch)
//
// The other receives requests, which are repeated by whoever sends them until they are answered: HTTP, OTLP. It keeps nothing, needs no
// bucket, and answers when Queue.Store returns:
//
//	p, err := collect.NewPublisher(collect.Options{Shared: true, ...})
//	queue := p.Queue()
//	handler := func(w http.ResponseWriter, r *http.Request) {
//		switch err := queue.Store(r.Context(), eventsOf(r)); {
//		case errors.As(err, &refused):
//			http.Error(w, err.Error(), http.StatusUnprocessableEntity) // the sender has nothing to repeat
//		case err != nil:
//			http.Error(w, err.Error(), http.StatusServiceUnavailable) // the sender repeats it
//		}
//	}
//	err = p.Run(ctx, func(ctx context.Context) { serve until ctx ends, then wait for the handlers })
//
// TestReceiverAnswersBehindThePubAck is such a collector as a whole. A command in the package of the source, an entry in the collect command of the
// main program, and one in the chart (collectors) make it run.
package collect
