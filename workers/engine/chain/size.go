package chain

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// tooLarge says whether the server would refuse o.
func (c *Chain) tooLarge(o *Output) bool {
	headers, limit := headerSize(o.Header)+c.headerRoom, c.maxPayload.Load()
	return headers > maxHeaders || limit > 0 && int64(len(o.Data)+headers) > limit
}

// maxHeaders is the size of the headers of a message that JetStream stores at most (nats-server,
// server/stream.go: hdr length of 16 bits).
const maxHeaders = 1<<16 - 1

// headerSize is the encoded size of h, which counts as payload.
func headerSize(h map[string][]string) int {
	n := len("NATS/1.0\r\n\r\n")
	for k, vs := range h {
		for _, v := range vs {
			n += len(k) + len(v) + len(": \r\n")
		}
	}
	return n
}

// truncate cuts o to what the server takes, and says so in its headers: headers of the sender that leave
// no room for the others, the largest first, then the end of the body.
func (c *Chain) truncate(o *Output) {
	if !c.tooLarge(o) {
		return
	}
	o.Header[headerTruncated] = []string{"true"}
	o.Header[headerFullSize] = []string{strconv.Itoa(len(o.Data))}
	limit, payload := maxHeaders, int(c.maxPayload.Load())
	if payload > 0 {
		limit = min(limit, payload)
	}
	for _, name := range sendersHeaders(o.Header) {
		if headerSize(o.Header)+c.headerRoom <= limit {
			break
		}
		delete(o.Header, name)
	}
	if payload > 0 {
		o.Data = o.Data[:max(0, min(payload-headerSize(o.Header)-c.headerRoom, len(o.Data)))]
	}
}

// sendersHeaders are the names of the headers in h that are the sender's, the largest first.
func sendersHeaders(h map[string][]string) []string {
	var names []string
	size := map[string]int{}
	for name, values := range h {
		if !strings.HasPrefix(name, "Nats-") && !strings.HasPrefix(name, "Millrace-") {
			names = append(names, name)
			size[name] = headerSize(map[string][]string{name: values})
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(size[b]-size[a], strings.Compare(a, b)) })
	return names
}
