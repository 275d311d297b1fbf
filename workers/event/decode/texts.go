package decode

import (
	"bytes"
	"cmp"
	"fmt"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/wire"
	"millrace.dev/millrace/workers/event/jsontext"
)

// object decodes a message that begins with a JSON object: one, which it mostly is, or several, a
// line each or spread over lines.
func (d *Decoder) object(m *Message) {
	var raw []byte
	err := wire.ErrTooLarge
	if len(m.Data) <= d.limits.MaxEvent {
		raw, err = d.json.Object(m.Data)
	}
	if err == nil {
		d.encoded(m, event.FormJSON, m.Data, raw, nil)
		return
	}
	c := jsontext.Cutter{MaxDepth: d.limits.MaxDepth}
	first := c.Cut(m.Data, true)
	if len(first.Text) < len(bytes.TrimSpace(m.Data[jsontext.MarkLength(m.Data):])) {
		d.texts(m)
		return
	}
	s := jsontext.NewScanner(m.Data, d.limits.MaxDepth)
	switch whole := s.Only(); {
	case whole != nil:
		err = cmp.Or(jsontext.Foreign(m.Data), whole)
	case len(m.Data) > d.limits.MaxEvent:
		err = d.tooLarge(len(m.Data))
	}
	d.fail(event.FormJSON, m.Data, err)
}

// texts decodes a message of several events, as TextReader reads them.
func (d *Decoder) texts(m *Message) {
	events, bad := len(d.events), len(d.bad)
	c := jsontext.Cutter{MaxDepth: d.limits.MaxDepth}
	for rest := m.Data; len(rest) > 0; {
		if d.index == d.limits.MaxEvents && len(rest) > c.Blank(rest) {
			d.events, d.bad, d.index = d.events[:events], d.bad[:bad], 0
			d.whole(m, fmt.Errorf("the message has more than %d events: %w", d.limits.MaxEvents, wire.ErrTooLarge))
			return
		}
		rest = rest[d.next(m, &c, rest):]
	}
}

// next decodes the next event of several and returns how many bytes it took.
func (d *Decoder) next(m *Message, c *jsontext.Cutter, rest []byte) int {
	// Mostly it is the line: there is no need to look for its end twice.
	if one := jsontext.Line(rest, true); !c.InArray && len(one.Text) > 0 && len(one.Text) <= d.limits.MaxEvent && !blank(one.Text) {
		if raw, err := d.json.Object(one.Text); err == nil {
			d.encoded(m, event.FormLine, one.Text, raw, nil)
			return one.Size
		}
	}
	t := c.Cut(rest, true)
	switch {
	case t.Err != nil:
		d.fail(event.FormLine, rest, t.Err)
		return len(rest)
	case t.Wait: // nothing but white space is left
		return len(rest)
	case t.Text != nil:
		d.element(m, event.FormLine, t.Text)
	}
	return t.Size
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
			d.element(m, event.FormLine, bytes.TrimRight(line, "\r\n"))
		}
	}
}

func blank(line []byte) bool { return len(bytes.TrimSpace(line[jsontext.MarkLength(line):])) == 0 }

// array decodes a CloudEvents batch. Where the end of a broken element cannot be told, the rest of the
// array is one failure.
func (d *Decoder) array(m *Message) error {
	s := jsontext.NewScanner(m.Data, d.limits.MaxDepth)
	d.spans = d.spans[:0]
	err := s.Elements(&d.spans)
	if err != nil && s.Depth > 0 {
		err = fmt.Errorf("%w; where the next event begins cannot be told, so this is all the rest of the array, with any events in it", err)
	}
	switch {
	case len(d.spans) > d.limits.MaxEvents:
		return d.tooMany(len(d.spans))
	case len(d.spans) == 0:
		return err
	}
	for _, at := range d.spans {
		d.element(m, event.FormElement, m.Data[at.From:at.To])
	}
	if err != nil {
		rest := m.Data[d.spans[len(d.spans)-1].To:]
		d.fail(event.FormElement, bytes.TrimLeft(rest, " \t\r\n,"), err)
	}
	return nil
}
