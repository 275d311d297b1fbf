package view

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"millrace.dev/millrace/controllers/view/internal/store"
)

// Many ids grow with time: counters of databases, snowflakes, KSUIDs, ids of MongoDB. Such an id is found by bisection, in some reads however much is
// stored. Where ids are in no order the bisection finds that out and ends; then all is looked through. So it saves reading and misses nothing.
const (
	// maxProbes bounds how often a bisection looks into the stream.
	maxProbes = 40
	// A probe reads so many messages, or bytes, at most: of small messages several, since not each has an id of the same form.
	probeMessages = 32
	probeBytes    = 128 << 10
)

// ordered looks for the id by bisection. It finds nothing where the ids of the stream are in no order.
func (t *tracer) ordered(ctx context.Context, s store.Stream, low, high, perWindow uint64) ([]*at, error) {
	form := formOf(t.options.ID)
	first, last := low, high
	for probes := 0; low <= high && probes < maxProbes; probes++ {
		p, err := t.probe(ctx, s, form, low+(high-low)/2, last)
		switch {
		case err != nil:
			return nil, err
		case p.last == 0: // nothing is stored there any more
			high = low + (high-low)/2 - 1
			continue
		case p.least == "": // no id of this form is near
			return nil, nil
		case form.compare(t.options.ID, p.least) < 0 && p.first > low:
			high = p.first - 1
		case form.compare(t.options.ID, p.most) > 0 && p.last < high:
			low = p.last + 1
		default:
			return t.around(ctx, s, first, last, p.first, p.last, perWindow)
		}
		if low > high { // it is not between two that stand side by side, but several senders are seldom in one order
			return t.around(ctx, s, first, last, p.first, p.last, perWindow)
		}
	}
	return nil, nil
}

// around looks through a window to either side of a place: what is sent again stands near to it.
func (t *tracer) around(ctx context.Context, s store.Stream, first, last, from, to, perWindow uint64) ([]*at, error) {
	w := &search{
		tracer: t, stream: s, needle: newNeedle(t.options.ID), size: max(perWindow/8, 2), all: true,
		low: max(from-min(from, perWindow), first), high: min(to+perWindow, last),
	}
	found, err := w.run(ctx)
	t.trace.Read += w.read
	return found, err
}

// probed is what a probe has seen.
type probed struct {
	first, last uint64 // stream sequences; last = 0: nothing
	least, most string // ids of the form; empty = none
}

func (t *tracer) probe(ctx context.Context, s store.Stream, form form, from, to uint64) (p probed, err error) {
	err = s.Page(ctx, store.Range{From: from, To: to, Batch: probeMessages, Bytes: probeBytes}, func(m *store.Message) error {
		t.trace.Read++
		if p.last = m.Sequence; p.first == 0 {
			p.first = m.Sequence
		}
		port := t.portOf(s.Name, m.Subject)
		if port == nil {
			return nil
		}
		return t.decoder.read(port, m, func(f found) error {
			if f.event == nil || !form.fits(f.event.ID) {
				return nil
			}
			if p.least == "" || form.compare(f.event.ID, p.least) < 0 {
				p.least = strings.Clone(f.event.ID)
			}
			if p.most == "" || form.compare(f.event.ID, p.most) > 0 {
				p.most = strings.Clone(f.event.ID)
			}
			return nil
		})
	})
	if errors.Is(err, store.ErrStop) {
		err = nil
	}
	return p, err
}

// form is what ids have in common that may be in an order: how they begin, and their length, or that a number follows.
type form struct {
	prefix string
	size   int  // of the whole id
	number bool // what follows the prefix is one, of any length
}

func formOf(id string) form {
	at := strings.IndexAny(id, "0123456789")
	if at < 0 {
		at = 0
	}
	f := form{prefix: id[:at], size: len(id)}
	f.number = digits(id[at:])
	return f
}

func digits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

func (f form) fits(id string) bool {
	rest, ok := strings.CutPrefix(id, f.prefix)
	return ok && (len(id) == f.size || f.number) && digits(rest) == f.number
}

// compare compares two ids of the form: numbers by their value.
func (f form) compare(a, b string) int {
	if f.number {
		a, b = strings.TrimLeft(a[len(f.prefix):], "0"), strings.TrimLeft(b[len(f.prefix):], "0")
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	}
	return strings.Compare(a, b)
}
