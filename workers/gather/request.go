package gather

import (
	"fmt"

	"millrace.dev/millrace/workers/event/cloudevent"
)

// Reasons of events that nobody can be asked about.
const (
	reasonMalformed = "malformed"
	reasonTooLarge  = "too_large"
	reasonOpen      = "breaker_open"
)

// encode writes request i: a CloudEvent, or a list of them. What is beyond limit bytes becomes a request of its own, at the end. It is nil when no
// event is left.
func (r *round) encode(i int, limit int64) (body []byte) {
	from, to := r.requests[i].from, r.requests[i].to
	for e := from; e < to; e++ {
		if r.events[e].unfit {
			continue
		}
		before := len(body)
		if r.lists {
			body = append(body, opening(before)) // closed below
		}
		var err error
		if body, err = cloudevent.Append(body, &r.batch.Events[e]); err != nil {
			r.unfit(i, e, failure{reasonMalformed, err})
			body = body[:before]
			continue
		}
		if size := int64(len(body) + 1); limit > 0 && size > limit {
			body = body[:before]
			if before > 0 {
				r.split(i, e)
				break
			}
			r.unfit(i, e, failure{reasonTooLarge, fmt.Errorf("the request has %d bytes, the server takes %d", size, limit)})
		}
	}
	if len(body) > 0 && r.lists {
		body = append(body, ']')
	}
	return body
}

// opening stands before an event of a list.
func opening(before int) byte {
	if before == 0 {
		return '['
	}
	return ','
}

// unfit takes event e out of request i: the event is at fault.
func (r *round) unfit(i, e int, why failure) {
	r.events[e].unfit, r.events[e].refused = true, &why
	r.requests[i].lacking--
}

// split leaves the events before e in request i, and adds a request with the others.
func (r *round) split(i, e int) {
	q := r.requests[i]
	r.requests[i].to = e
	r.requests[i].lacking -= q.to - e
	r.add(e, q.to, q.targets)
}
