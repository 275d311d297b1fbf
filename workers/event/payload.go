package event

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// payload encodes data of the CloudEvent in hand, with its content type and schema.
func (t *transcoder) payload() error {
	p, err := t.payloadOf(t.members)
	if err != nil {
		return err
	}
	if t.lift(p) {
		return nil
	}
	t.appendPayload(p)
	return nil
}

// payloadOf is what members say about the payload.
type payloadOf struct {
	contentType, schema string
	data                []byte
	object              bool // data is a JSON object
}

func (t *transcoder) payloadOf(ms []member) (p payloadOf, err error) {
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
			p.contentType, err = t.payloadText(m, err)
		case m.spec.role == roleAttribute && m.spec.field.num == fieldDataSchema:
			p.schema, err = t.payloadText(m, err)
		}
	}
	switch {
	case err != nil:
	case data != nil && data64 != nil:
		err = errors.New("data and data_base64 exclude each other")
	case data64 != nil:
		p.data, err = t.base64(data64)
	case data != nil:
		err = t.dataOf(data, &p)
	}
	return p, err
}

func (t *transcoder) payloadText(m *member, before error) (string, error) {
	v, err := t.member(m)
	if err == nil && v.json {
		err = fmt.Errorf("member %q at offset %d: want text", m.name, m.from)
	}
	return v.Text(), errors.Join(before, err)
}

func (t *transcoder) base64(m *member) ([]byte, error) {
	v, err := t.member(m)
	if err != nil {
		return nil, err
	}
	out := t.d.arena.take(base64.StdEncoding.DecodedLen(len(v.str)))
	out, err = base64.StdEncoding.AppendDecode(out, bytesOf(v.str))
	if v.kind != String || err != nil {
		return nil, fmt.Errorf("member %q at offset %d: want base64 as RFC 4648 section 4 has it", m.name, m.from)
	}
	return out, nil
}

// dataOf takes member data: JSON as it is written, or the text of a string when the content
// type is not JSON.
func (t *transcoder) dataOf(m *member, p *payloadOf) error {
	if m.first == '"' && !isJSON(p.contentType) {
		v, err := t.member(m)
		p.data = bytesOf(v.str)
		return err
	}
	p.data, p.object = t.src[m.from:m.to], m.first == '{'
	return nil
}

func (t *transcoder) appendPayload(p payloadOf) {
	t.out = appendText(t.out, fieldDataContentType, p.contentType)
	t.out = appendText(t.out, fieldDataSchema, p.schema)
	t.out = appendBytes(t.out, fieldData, p.data)
}

// lift encodes data as typed fields if it is a JSON object of nothing else, each named and
// typed exactly, and says so. Otherwise the payload stays byte for byte.
func (t *transcoder) lift(p payloadOf) bool {
	ours := p.schema == DataSchema
	if !p.object || p.schema != "" && !ours || p.contentType != "" && !strings.EqualFold(p.contentType, ContentTypeJSON) {
		return false
	}
	outer, src, at := len(t.members), t.src, len(t.out)
	t.src, t.strict = p.data, true
	ok := t.liftMembers(outer, ours)
	t.src, t.strict, t.members = src, false, t.members[:outer]
	if !ok {
		t.out = t.out[:at]
	}
	return ok
}

func (t *transcoder) liftMembers(outer int, ours bool) bool {
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
		if m.spec.alias || seen&m.bit() != 0 || m.secondSignal(seen) || m.first == 'n' {
			return false
		}
		seen |= m.bit()
		at := len(t.out)
		if !t.liftMember(m, ours) || len(t.out) == at && !ours { // zero is no field: it would be lost
			return false
		}
	}
	return true
}

func (t *transcoder) liftMember(m *member, ours bool) bool {
	switch m.spec.role {
	case roleTyped:
		return t.typed(m) == nil
	case rolePayload:
		return ours && m.first == '{' && t.liftPayload(m)
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
	p, err := t.payloadOf(t.members[outer:])
	if err != nil {
		return false
	}
	t.appendPayload(p)
	return true
}
