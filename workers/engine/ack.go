package engine

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// The acknowledgements of JetStream. They are read only.
func ackBody() []byte      { return []byte("+ACK") }
func nakBody() []byte      { return []byte("-NAK") }
func progressBody() []byte { return []byte("+WPI") }

// ack acknowledges m: all it caused is stored. A lost acknowledgement has m redelivered;
// what it causes again carries the same ids.
func (in *input) ack(m *message) {
	reply, ok := in.take(m, func() { in.e.stats.commit(m, in.now()) })
	if !ok {
		return
	}
	if err := in.e.conn.Publish(reply, ackBody()); err != nil {
		in.log().Warn("acknowledgement was not sent, the message will come again", "sequence", m.seq, "error", err)
	}
	in.signal()
}

// take removes m from the shelf and returns where to answer; false when that was done. Who
// sees an empty shelf finds everything counted.
func (in *input) take(m *message, count func()) (reply string, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if m.gone {
		return "", false
	}
	m.gone = true
	count()
	in.recent.add(m.seq, in.now())
	in.shelf.remove(m)
	return m.reply, true
}

// withdraw takes the messages in hand that which chooses from the shelf. It returns where
// to answer, in stream order.
func (in *input) withdraw(which func(*message) bool) (replies []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var chosen []*message
	for m := in.shelf.first; m != nil; m = m.next {
		if which(m) {
			chosen = append(chosen, m)
		}
	}
	slices.SortFunc(chosen, func(a, b *message) int { return cmp.Compare(a.seq, b.seq) })
	for _, m := range chosen {
		m.gone = true
		in.shelf.remove(m)
		replies = append(replies, m.reply)
	}
	return replies
}

// settleWait is what the server gets to notice that pull requests have nobody behind them.
const settleWait = 20 * time.Millisecond

// giveBack has the messages in hand that which chooses delivered again at once. It returns
// how many there were.
//
// For a stateful stage they come again in stream order: the server takes the first message
// that is given back from its queue, finds that the pull requests it still has are those
// of a closed subscription, drops these and puts the message back at the end of the queue.
// So the first goes alone.
func (in *input) giveBack(ctx context.Context, which func(*message) bool) int {
	replies := in.withdraw(which)
	for i, reply := range replies {
		_ = in.e.conn.Publish(reply, nakBody()) // not sent: it comes again after AckWait
		if i == 0 && in.e.stateful {
			_ = in.e.conn.FlushWithContext(ctx)
			time.Sleep(settleWait)
		}
	}
	return len(replies)
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
