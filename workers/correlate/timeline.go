package correlate

import (
	"math"
	"time"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// timelineSilence of stream time without an event has event time begin anew, partitionSilence has a partition not be waited for.
const (
	timelineSilence  = 15 * time.Minute
	partitionSilence = 10 * time.Second
)

// timeline is the event time that all partitions have reached, for what counts events in the order of their times.
type timeline struct {
	clock     clock     // the latest event time
	watermark watermark // the event time that all partitions have reached
	last      int64     // the latest event time of the message at hand; 0 = none
	input     int       // where the message came in
}

func newTimeline(s stage.Settings) timeline {
	return timeline{clock: clock{silence: int64(timelineSilence)}, watermark: newWatermark(int64(partitionSilence), s)}
}

// see takes the time of an event, and returns the time that it counts for.
func (l *timeline) see(e *event.Event, at int64, now time.Time) int64 {
	at, _ = l.clock.see(at, now.UnixNano())
	l.last, l.input = max(l.last, at), e.Origin.Input
	return at
}

// reached ends a message.
func (l *timeline) reached(b *stage.Batch) {
	if l.last != 0 {
		l.watermark.reached(b, l.input, l.last)
		l.last = 0
	}
}

// at is the event time when all of a message is taken: where all partitions are, or, when nothing has come for a while, the end
// of what came. Where input is live, event time goes on then with stream time. It is not known while a partition is waited for.
func (l *timeline) at(now int64) (at int64, ok bool) {
	switch at = l.watermark.at(now); {
	case l.clock.latest == 0, at == noTime:
		return 0, false
	case at == math.MaxInt64: // all are silent
		at = l.clock.latest
		if idle := now - l.clock.seen; now-at-idle < int64(live) {
			at += idle
		}
	}
	return at, true
}
