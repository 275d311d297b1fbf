package track

import (
	"crypto/rand"
	"strconv"
	"time"

	"millrace.dev/millrace/workers/engine/backoff"
)

const (
	publishBackoff    = 100 * time.Millisecond
	publishMaxBackoff = 5 * time.Second
	// maxBatch is how many messages one atomic batch holds at most; the server allows 1000.
	maxBatch = 500
)

// send publishes the next output of q, or, where they are single events, the next ones as an
// atomic batch: all or none of them are stored.
func (l *Log) send(i int, q *queue) {
	q.attempt, q.failed = l.nextAttempt(), false
	q.due = l.now().Add(l.ackTimeout << min(q.failures, 3)).UnixNano()
	rest := q.records[q.next:]
	q.sent = 1
	if !l.conn.IsConnected() {
		l.delay(q, "not connected to NATS")
		return
	}
	if q.track.Single && !q.track.noBatch {
		q.sent = min(len(rest), maxBatch)
	}
	reply := l.inbox + "." + strconv.Itoa(i) + "." + strconv.FormatUint(q.attempt, 10)
	id := ""
	if q.sent > 1 {
		id = rand.Text()
	}
	for k := range rest[:q.sent] {
		o := &rest[k]
		h := o.Message.Header
		for _, name := range [...]string{headerBatchID, headerBatchSeq, headerBatchEnd, headerExpected, headerExpectedS} {
			delete(h, name)
		}
		if k == 0 {
			h[headerExpected] = []string{strconv.FormatUint(q.track.Fence, 10)}
			if q.track.Last != o.Message.Subject {
				h[headerExpectedS] = []string{q.track.Last}
			}
		}
		if id != "" {
			h[headerBatchID], h[headerBatchSeq] = []string{id}, []string{strconv.Itoa(k + 1)}
		}
		o.Message.Reply = ""
		if k == q.sent-1 {
			o.Message.Reply = reply
			if id != "" {
				h[headerBatchEnd] = []string{"1"}
			}
		}
		if err := l.conn.PublishMsg(&o.Message); err != nil {
			l.delay(q, err.Error())
			return
		}
	}
}

// delay has q sent again later, because of reason.
func (l *Log) delay(q *queue, reason string) {
	wait := backoff.Wait(publishBackoff, publishMaxBackoff, q.failures, l.jitter())
	q.failures++
	q.failed = true
	q.due = l.now().Add(wait).UnixNano()
	l.problems.set(l.log, q.track, reason)
}
