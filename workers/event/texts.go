package event

import (
	"bytes"
	"cmp"
	"fmt"
)

// object decodes a message that begins with a JSON object: one, which it mostly is, or several, a
// line each or spread over lines.
func (d *Decoder) object(m *Message) {
	err := d.tooLarge(len(m.Data))
	if len(m.Data) <= d.limits.MaxEvent {
		var raw []byte
		if raw, err = d.json.event(m.Data); err == nil {
			d.encoded(m, FormJSON, m.Data, raw, nil)
			return
		}
	}
	c := cutter{max: d.limits.MaxDepth}
	first := c.cut(m.Data, true)
	if len(first.text) < len(bytes.TrimSpace(m.Data[markLength(m.Data):])) {
		d.texts(m)
		return
	}
	s := newScanner(m.Data, d.limits.MaxDepth)
	if whole := s.only(); whole != nil {
		err = cmp.Or(foreign(m.Data), whole)
	}
	d.fail(FormJSON, m.Data, err)
}

// texts decodes a message of several events, as TextReader reads them.
func (d *Decoder) texts(m *Message) {
	events, bad := len(d.events), len(d.bad)
	c := cutter{max: d.limits.MaxDepth}
	for rest := m.Data; len(rest) > 0; {
		if d.index == d.limits.MaxEvents && len(rest) > c.blank(rest) {
			d.events, d.bad, d.index = d.events[:events], d.bad[:bad], 0
			d.whole(m, fmt.Errorf("the message has more than %d events: %w", d.limits.MaxEvents, ErrTooLarge))
			return
		}
		rest = rest[d.next(m, &c, rest):]
	}
}

// next decodes the next event of several and returns how many bytes it took.
func (d *Decoder) next(m *Message, c *cutter, rest []byte) int {
	// Mostly it is the line: there is no need to look for its end twice.
	if one := line(rest, true); !c.inArray && len(one.text) > 0 && len(one.text) <= d.limits.MaxEvent && !blank(one.text) {
		if raw, err := d.json.event(one.text); err == nil {
			d.encoded(m, FormLine, one.text, raw, nil)
			return one.n
		}
	}
	t := c.cut(rest, true)
	switch {
	case t.err != nil:
		d.fail(FormLine, rest, t.err)
		return len(rest)
	case t.wait: // nothing but white space is left
		return len(rest)
	case t.text != nil:
		d.element(m, FormLine, t.text)
	}
	return t.n
}

// lines decodes NDJSON.
func (d *Decoder) lines(m *Message) {
	n := 0
	for line := range bytes.Lines(m.Data) {
		if !blank(line) {
			n++
		}
	}
	if n > d.limits.MaxEvents {
		d.whole(m, d.tooMany(n))
		return
	}
	for line := range bytes.Lines(m.Data) {
		if !blank(line) {
			d.element(m, FormLine, bytes.TrimRight(line, "\r\n"))
		}
	}
}

func blank(line []byte) bool { return len(bytes.TrimSpace(line[markLength(line):])) == 0 }

// array decodes a CloudEvents batch. Where the end of a broken element cannot be told, the rest of the
// array is one failure.
func (d *Decoder) array(m *Message) error {
	s := newScanner(m.Data, d.limits.MaxDepth)
	d.spans = d.spans[:0]
	err := s.elements(&d.spans)
	if err != nil && s.depth > 0 {
		err = fmt.Errorf("%w; where the next event begins cannot be told, so this is all the rest of the array, with any events in it", err)
	}
	switch {
	case len(d.spans) > d.limits.MaxEvents:
		return d.tooMany(len(d.spans))
	case len(d.spans) == 0:
		return err
	}
	for _, at := range d.spans {
		d.element(m, FormElement, m.Data[at.from:at.to])
	}
	if err != nil {
		rest := m.Data[d.spans[len(d.spans)-1].to:]
		d.fail(FormElement, bytes.TrimLeft(rest, " \t\r\n,"), err)
	}
	return nil
}
