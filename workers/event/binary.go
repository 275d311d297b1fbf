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

type ceHeader struct{ name, value string }

// isData tells whether the header has the name of the payload in JSON.
func (h ceHeader) isData() bool { return h.name == "data" || h.name == "data_base64" }

// headers returns the encoded event of a binary CloudEvent: its attributes mean what members of
// the same names mean in structured mode. The result is valid until the next call.
func (t *transcoder) headers(m *Message) ([]byte, error) {
	t.begin(m.Data)
	if err := t.collectHeaders(m.Header); err != nil {
		return nil, err
	}
	if err := t.attributes(); err != nil {
		return nil, err
	}
	for _, a := range t.headersOf { // they are no attributes in CloudEvents
		if a.isData() {
			t.keep(a.name, StringValue(a.value))
		}
	}
	p := t.payloadOf(t.members)
	if p.contentType == "" {
		p.contentType = header(m.Header, HeaderContentType)
	}
	if !utf8.ValidString(p.contentType) {
		return nil, fmt.Errorf("header %s: not valid UTF-8", HeaderContentType)
	}
	p.data = m.Data
	if isJSON(p.contentType) {
		p.data = p.data[markLength(p.data):]
		s := scanner{b: p.data, max: t.d.limits.MaxDepth}
		p.object = s.peek() == '{' && s.only() == nil
	}
	t.headersOf = nil // data has members of its own
	t.payload(p)
	return t.finished(), nil
}

// collectHeaders makes members of the ce-* headers, sorted by name. Of two that differ in case
// the last counts, as of two members with one name.
func (t *transcoder) collectHeaders(h map[string][]string) error {
	var all []ceHeader
	for k, v := range h {
		if len(k) < 4 || len(v) == 0 || !strings.EqualFold(k[:3], "ce-") {
			continue
		}
		a := ceHeader{name: strings.ToLower(k[3:]), value: percentDecoded(v[0])}
		if !utf8.ValidString(a.value) || !utf8.ValidString(a.name) {
			return fmt.Errorf("header ce-%q: not valid UTF-8", clip(a.name))
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b ceHeader) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value))
	})
	t.headersOf = all
	for i, a := range all {
		if a.isData() {
			continue
		}
		t.members = append(t.members, member{name: a.name, span: span{from: i}, first: '"'})
	}
	return nil
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
