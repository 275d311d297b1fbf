package event

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// binary decodes a binary CloudEvent: attributes in ce-* headers, the payload as data.
func (d *Decoder) binary(m *Message) error {
	if len(m.Data) > d.limits.MaxEvent {
		return d.tooLarge(len(m.Data))
	}
	raw, err := d.json.headers(m)
	if err != nil {
		return err
	}
	d.encoded(m, FormBinary, m.Data, raw, nil)
	return nil
}

type ceHeader struct {
	name, value string
	spec        memberSpec
}

// headers returns the encoded event of a binary CloudEvent. The result is valid until the
// next call.
func (t *transcoder) headers(m *Message) ([]byte, error) {
	t.src, t.out, t.extra, t.members, t.strict = m.Data, t.out[:0], t.extra[:0], t.members[:0], false
	attributes, err := ceHeaders(m.Header)
	if err != nil {
		return nil, err
	}
	p := payloadOf{contentType: header(m.Header, HeaderContentType), data: m.Data}
	var known uint64
	for _, a := range attributes {
		bit := uint64(1) << a.spec.bit
		if bit == bitSeverityNumber {
			if n, ok := whole(StringValue(a.value)); ok && n == 0 {
				continue // there is none
			}
		}
		known |= bit
	}
	for _, a := range attributes {
		switch a.name {
		case "datacontenttype":
			p.contentType = a.value
			continue
		case "dataschema":
			p.schema = a.value
			continue
		}
		if err := t.attribute(a.name, a.spec, StringValue(a.value), known); err != nil {
			return nil, fmt.Errorf("header ce-%s: %w", clip(a.name), err)
		}
	}
	if !utf8.ValidString(p.contentType) {
		return nil, fmt.Errorf("header %s: not valid UTF-8", HeaderContentType)
	}
	if isJSON(p.contentType) {
		s := scanner{b: p.data, max: t.d.limits.MaxDepth}
		p.object = s.peek() == '{' && s.only() == nil
	}
	if !t.lift(p) {
		t.appendPayload(p)
	}
	return t.out, nil
}

// ceHeaders returns the attributes in the headers, sorted by name. Typed members are not
// attributes: a header of that name is an extension.
func ceHeaders(h map[string][]string) ([]ceHeader, error) {
	var all []ceHeader
	for k, v := range h {
		if len(k) < 4 || len(v) == 0 || !strings.EqualFold(k[:3], "ce-") {
			continue
		}
		a := ceHeader{name: strings.ToLower(k[3:]), value: percentDecoded(v[0])}
		if !utf8.ValidString(a.value) || !utf8.ValidString(a.name) {
			return nil, fmt.Errorf("header ce-%q: not valid UTF-8", clip(a.name))
		}
		if spec := memberOf(a.name); !spec.alias && spec.role != roleTyped && spec.role != roleData && spec.role != roleData64 {
			a.spec = spec
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b ceHeader) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value))
	})
	return all, nil
}

// percentDecoded undoes the encoding of header values (CloudEvents NATS binding, 3.1.3.2). A
// percent sign that begins no code stands for itself.
func percentDecoded(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1:i+3]) {
			hi, lo := nibble(s[i+1]|0x20), nibble(s[i+2]|0x20)
			b = append(b, hi<<4|lo)
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}
