package engine

import (
	"time"
)

// The acknowledgements of JetStream. They are read only.
func ackBody() []byte      { return []byte("+ACK") }
func nakBody() []byte      { return []byte("-NAK") }
func progressBody() []byte { return []byte("+WPI") }

// ack acknowledges m: all it caused is stored. A lost acknowledgement has m redelivered;
// what it causes again carries the same ids.
func (in *input) ack(m *message) {
	reply, ok := in.take(m)
	if !ok {
		return
	}
	if err := in.e.conn.Publish(reply, ackBody()); err != nil {
		in.log().Warn("acknowledgement was not sent, the message will come again", "sequence", m.seq, "error", err)
	}
	in.e.stats.commit(m, in.now())
	in.signal()
}

// take removes m from the shelf and returns where to answer; false when that was done.
func (in *input) take(m *message) (reply string, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if m.gone {
		return "", false
	}
	m.gone = true
	in.shelf.remove(m)
	return m.reply, true
}

// giveBack has every message that is still in hand delivered again at once, oldest first.
// It returns how many there were.
func (in *input) giveBack() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for m := in.shelf.first; m != nil; m = in.shelf.first {
		m.gone = true
		in.shelf.remove(m)
		_ = in.e.conn.Publish(m.reply, nakBody()) // not sent: it comes again after AckWait
		n++
	}
	return n
}

// keepAlive tells the server that work on messages goes on, before AckWait is over. It
// returns when to call it next.
func (in *input) keepAlive() time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	every := min(max(in.ackWait/6, 10*time.Millisecond), 250*time.Millisecond)
	if !in.e.conn.IsConnected() {
		return every
	}
	for m := in.shelf.first; m != nil && now-m.touched > int64(in.ackWait/3); m = in.shelf.first {
		in.shelf.touch(m, now)
		if err := in.e.conn.Publish(m.reply, progressBody()); err != nil {
			break
		}
	}
	return every
}
