package event

import (
	"encoding/base64"
	"strings"
)

// payload encodes data of the CloudEvent in hand, with its content type and schema.
func (t *transcoder) payload(p payloadOf) {
	if !t.lift(p) {
		t.appendPayload(p)
	}
}

// payloadOf is what members say about the payload.
type payloadOf struct {
	contentType, schema string
	data                []byte
	object              bool // data is a JSON object
}

// payloadOf reads the payload. What cannot be read of it is kept as an attribute.
func (t *transcoder) payloadOf(ms []member) (p payloadOf) {
	var data, data64 *member
	for i := range ms {
		m := &ms[i]
		switch {
		case m.drop:
		case m.spec.role == roleData:
			data = m
		case m.spec.role == roleData64:
			data64 = m
		case m.spec.role == roleAttribute && m.spec.field.num == fieldDataContentType:
			p.contentType = t.payloadText(m)
		case m.spec.role == roleAttribute && m.spec.field.num == fieldDataSchema:
			p.schema = t.payloadText(m)
		}
	}
	if data64 != nil && !t.base64(data64, data != nil, &p) {
		v, _ := t.member(data64) // collect has read it
		t.keep(data64.name, v)
	}
	if data != nil {
		t.dataOf(data, &p)
	}
	return p
}

func (t *transcoder) payloadText(m *member) string {
	v, _ := t.member(m) // collect has read it
	if v.json {
		t.keep(m.name, v)
		return ""
	}
	return v.Text()
}

// base64 takes member data_base64. It fails for what is no base64, and beside data, which
// excludes it.
func (t *transcoder) base64(m *member, excluded bool, p *payloadOf) bool {
	v, _ := t.member(m) // collect has read it
	if v.kind != String || v.json || excluded {
		return false
	}
	out, err := base64.StdEncoding.AppendDecode(t.d.arena.take(base64.StdEncoding.DecodedLen(len(v.str))), bytesOf(v.str))
	if err == nil {
		p.data = out
	}
	return err == nil
}

// dataOf takes member data: JSON as it is written, or the text of a string when the content
// type is not JSON.
func (t *transcoder) dataOf(m *member, p *payloadOf) {
	if m.first == '"' && !isJSON(p.contentType) {
		v, _ := t.member(m) // collect has read it
		p.data = bytesOf(v.str)
		return
	}
	p.data, p.object = t.src[m.from:m.to], m.first == '{'
}

func (t *transcoder) appendPayload(p payloadOf) {
	t.out = appendText(t.out, fieldDataContentType, p.contentType)
	t.out = appendText(t.out, fieldDataSchema, p.schema)
	t.out = appendBytes(t.out, fieldData, p.data)
}

// lift encodes data as typed fields where dataschema says that they are Millrace's. All other data
// stays byte for byte, whatever it looks like: its meaning is the sender's. So does data with members
// that this version does not know.
func (t *transcoder) lift(p payloadOf) bool {
	if p.schema != DataSchema || !p.object || p.contentType != "" && !strings.EqualFold(media(p.contentType), ContentTypeJSON) {
		return false
	}
	outer, src, at, extras := len(t.members), t.src, len(t.out), len(t.extra)
	t.src, t.strict = p.data, true
	ok := t.liftMembers(outer)
	t.src, t.strict, t.members = src, false, t.members[:outer]
	if !ok {
		t.out, t.extra, t.path = t.out[:at], t.extra[:extras], t.path[:0]
	}
	return ok
}

func (t *transcoder) liftMembers(outer int) bool {
	s := scanner{b: t.src, max: t.d.limits.MaxDepth}
	if t.collect(&s, outer) != nil || len(t.members) == outer {
		return false
	}
	var seen uint64
	for i := range t.members[:outer] {
		if m := &t.members[i]; !m.drop && m.spec.role == roleTyped {
			seen |= m.bit()
		}
	}
	for i := outer; i < len(t.members); i++ {
		m := &t.members[i]
		m.spec = members[m.name]
		if m.spec.alias || seen&m.bit() != 0 || m.secondSignal(seen) {
			return false
		}
		seen |= m.bit()
		if !t.liftMember(m) {
			return false
		}
	}
	return true
}

func (t *transcoder) liftMember(m *member) bool {
	switch {
	case m.spec.role == roleTyped && m.first == 'n':
		return true // absent
	case m.spec.role == roleTyped:
		return t.typed(m) == nil
	case m.spec.role == rolePayload:
		return m.first == '{' && t.liftPayload(m)
	}
	return false
}

// liftPayload takes the payload that travels beside typed members in data.
func (t *transcoder) liftPayload(m *member) bool {
	outer := len(t.members)
	src := t.src
	defer func() { t.members, t.src = t.members[:outer], src }()
	s := scanner{b: src, i: m.from, max: t.d.limits.MaxDepth}
	if t.collect(&s, outer) != nil {
		return false
	}
	for i := outer; i < len(t.members); i++ {
		m := &t.members[i]
		m.spec = memberOf(m.name)
		switch m.name {
		case "data", "data_base64", "datacontenttype", "dataschema":
		default:
			return false
		}
	}
	before := len(t.extra)
	p := t.payloadOf(t.members[outer:])
	if len(t.extra) > before {
		return false
	}
	t.appendPayload(p)
	return true
}
