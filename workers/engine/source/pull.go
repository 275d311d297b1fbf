package source

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// How pull requests are made. They overlap, so that the server always has one to fill. When
// the server says nothing for pullSilence, not even a heartbeat, the requests are taken
// for lost (a leader that moved, a server that was restarted) and made again: a steady
// flow never stands still for longer than that. Taking live ones for lost costs the server
// a request more.
const (
	pullExpiry    = 5 * time.Second
	pullHeartbeat = 500 * time.Millisecond
	pullSilence   = 1250 * time.Millisecond
	// messageOverhead is what the server may add to the size of a stored message when it
	// counts against max_bytes: subject, acknowledgement subject, headers.
	messageOverhead = 64 << 10
)

// Amount is a number of messages and their bytes.
type Amount struct{ Messages, Bytes int }

// pulls are the requests that the server has not finished. A delivered message does not
// say which request it answers, so what is still to come is counted over all of them.
type pulls struct {
	open map[string]Amount // as asked for, by id
	// asked is what may still come.
	asked Amount
	heard int64 // Unix nanoseconds of the last word from the server
	last  uint64
}

func (p *pulls) add(a Amount, now int64) (id string) {
	if len(p.open) == 0 {
		p.heard = now
	}
	p.last++
	id = strconv.FormatUint(p.last, 36)
	p.open[id] = a
	p.asked.Messages += a.Messages
	p.asked.Bytes += a.Bytes
	return id
}

// take counts a delivered message.
func (p *pulls) take(size int, now int64) {
	p.heard = now
	p.asked.Messages--
	p.asked.Bytes -= size
	if p.asked.Messages <= 0 || p.asked.Bytes <= 0 {
		p.reset() // requests that are filled end without a word
	}
}

// end takes back what request id will not deliver any more.
func (p *pulls) end(id string, left Amount) {
	if _, ok := p.open[id]; !ok {
		return
	}
	delete(p.open, id)
	p.asked.Messages -= left.Messages
	p.asked.Bytes -= left.Bytes
	if len(p.open) == 0 || p.asked.Messages <= 0 || p.asked.Bytes <= 0 {
		p.reset()
	}
}

func (p *pulls) reset() {
	clear(p.open)
	p.asked = Amount{}
}

// dropSilent forgets all requests when the server said nothing about any for too long.
func (p *pulls) dropSilent(now int64) bool {
	if len(p.open) == 0 || now-p.heard <= int64(pullSilence) {
		return false
	}
	p.reset()
	return true
}

// request encodes the body of a pull request by hand: it is made hundreds of times a second.
func (a Amount) request() []byte {
	b := make([]byte, 0, 112)
	b = append(b, `{"batch":`...)
	b = strconv.AppendInt(b, int64(a.Messages), 10)
	b = append(b, `,"max_bytes":`...)
	b = strconv.AppendInt(b, int64(a.Bytes), 10)
	b = append(b, `,"expires":`...)
	b = strconv.AppendInt(b, int64(pullExpiry), 10)
	b = append(b, `,"idle_heartbeat":`...)
	b = strconv.AppendInt(b, int64(pullHeartbeat), 10)
	return append(b, '}')
}

// pendingOf reads what a request has not delivered; all of it when the server does not say.
func pendingOf(h nats.Header, asked Amount) Amount {
	messages, err1 := strconv.Atoi(h.Get("Nats-Pending-Messages"))
	bytes, err2 := strconv.Atoi(h.Get("Nats-Pending-Bytes"))
	if err1 != nil || err2 != nil {
		return asked
	}
	return Amount{messages, bytes}
}
