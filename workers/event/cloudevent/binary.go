package cloudevent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/wire"
	"millrace.dev/millrace/workers/event/jsontext"
)

type ceHeader struct{ name, value string }

// isData tells whether the header has the name of the payload in JSON.
func (h ceHeader) isData() bool { return h.name == "data" || h.name == "data_base64" }

// Binary returns the encoded event of a binary CloudEvent: the attributes in its ce-* headers mean what
// members of the same names mean in structured mode. contentType is that of the data where no attribute says
// another. The result is valid until the next call.
func (r *Reader) Binary(header map[string][]string, contentType string, data []byte) ([]byte, error) {
	r.begin(data)
	if err := r.collectHeaders(header); err != nil {
		return nil, err
	}
	if err := r.attributes(); err != nil {
		return nil, err
	}
	for _, a := range r.headersOf { // they are no attributes in CloudEvents
		if a.isData() {
			r.keep(a.name, event.StringValue(a.value))
		}
	}
	p := r.payloadOf(r.members)
	if p.contentType == "" {
		p.contentType = contentType
	}
	if !utf8.ValidString(p.contentType) {
		return nil, fmt.Errorf("header %s: not valid UTF-8", event.HeaderContentType)
	}
	p.data = data
	if isJSON(p.contentType) {
		p.data = p.data[jsontext.MarkLength(p.data):]
		s := jsontext.Scanner{Src: p.data, MaxDepth: r.depth}
		p.object = s.Peek() == '{' && s.Only() == nil
	}
	r.headersOf = nil // data has members of its own
	r.payload(p)
	return r.finished(), nil
}

// collectHeaders makes members of the ce-* headers, sorted by name. Of two that differ in case
// the last counts, as of two members with one name.
func (r *Reader) collectHeaders(h map[string][]string) error {
	var all []ceHeader
	for k, v := range h {
		if len(k) < 4 || len(v) == 0 || !strings.EqualFold(k[:3], "ce-") {
			continue
		}
		a := ceHeader{name: strings.ToLower(k[3:]), value: percentDecoded(v[0])}
		if !utf8.ValidString(a.value) || !utf8.ValidString(a.name) {
			return fmt.Errorf("header ce-%q: not valid UTF-8", wire.Clip(a.name))
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b ceHeader) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value))
	})
	r.headersOf = all
	for i, a := range all {
		if a.isData() {
			continue
		}
		r.members = append(r.members, member{name: a.name, Span: jsontext.Span{From: i}, first: '"'})
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
			hi, lo := wire.Nibble(s[i+1]|0x20), wire.Nibble(s[i+2]|0x20)
			b = append(b, hi<<4|lo)
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// IsBinary tells whether the headers are those of a binary CloudEvent.
func IsBinary(h map[string][]string) bool {
	for k := range h {
		if len(k) > 3 && strings.EqualFold(k[:3], "ce-") {
			switch strings.ToLower(k[3:]) {
			case "specversion", "id", "type":
				return true
			}
		}
	}
	return false
}

// isJSON tells whether a payload of this content type is JSON: none at all, */json, */*+json.
func isJSON(contentType string) bool {
	m := event.MediaType(contentType)
	if m == "" {
		return true
	}
	slash := strings.IndexByte(m, '/')
	if slash < 0 {
		return false
	}
	sub := m[slash+1:]
	return strings.EqualFold(sub, "json") || len(sub) > 5 && strings.EqualFold(sub[len(sub)-5:], "+json")
}
