// Package frame reads and writes frames: many encoded events in one compressed message (api/event/v1, Frame).
//
//	var w frame.Writer
//	w.Begin(frame.Header{Partition: 3})
//	w.Add(&e)
//	data := w.AppendTo(nil)
//
// What events have in common (event.Prepared) stands in a frame once. Hints say which fields an event has and where those
// of the view end, so that a reader that trusts the writer skips the rest; marks name the few events that tell of
// trouble in a header. A Reader gives one event after another; one that is malformed hurts only itself.
package frame
