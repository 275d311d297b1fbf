package cloudevent

import (
	"encoding/base64"
	"strings"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/wire"
	"millrace.dev/millrace/workers/event/jsontext"
)

// payload encodes data of the CloudEvent in hand, with its content type and schema.
func (r *Reader) payload(p payloadOf) {
	if !r.lift(p) {
		r.appendPayload(p)
	}
}

// payloadOf is what members say about the payload.
type payloadOf struct {
	contentType, schema string
	data                []byte
	object              bool // data is a JSON object
}

// payloadOf reads the payload. What cannot be read of it is kept as an attribute.
func (r *Reader) payloadOf(ms []member) (p payloadOf) {
	var data, data64 *member
	for i := range ms {
		m := &ms[i]
		switch {
		case m.drop:
		case m.spec.role == roleData:
			data = m
		case m.spec.role == roleData64:
			data64 = m
		case m.spec.role == roleAttribute && m.spec.field.num == wire.FieldDataContentType:
			p.contentType = r.payloadText(m)
		case m.spec.role == roleAttribute && m.spec.field.num == wire.FieldDataSchema:
			p.schema = r.payloadText(m)
		}
	}
	if data64 != nil && !r.base64(data64, data != nil, &p) {
		v, _ := r.member(data64) // collect has read it
		r.keep(data64.name, v)
	}
	if data != nil {
		r.dataOf(data, &p)
	}
	return p
}

func (r *Reader) payloadText(m *member) string {
	v, _ := r.member(m) // collect has read it
	if v.IsJSON() {
		r.keep(m.name, v)
		return ""
	}
	return v.Text()
}

// base64 takes member data_base64. It fails for what is no base64, and beside data, which
// excludes it.
func (r *Reader) base64(m *member, excluded bool, p *payloadOf) bool {
	v, _ := r.member(m) // collect has read it
	if v.Kind() != event.String || v.IsJSON() || excluded {
		return false
	}
	out, err := base64.StdEncoding.AppendDecode(r.memory.Take(base64.StdEncoding.DecodedLen(len(v.Str()))), v.Bytes())
	if err == nil {
		p.data = out
	}
	return err == nil
}

// dataOf takes member data: JSON as it is written, or the text of a string when the content
// type is not JSON.
func (r *Reader) dataOf(m *member, p *payloadOf) {
	if m.first == '"' && !isJSON(p.contentType) {
		v, _ := r.member(m) // collect has read it
		p.data = v.Bytes()
		return
	}
	p.data, p.object = r.src[m.From:m.To], m.first == '{'
}

func (r *Reader) appendPayload(p payloadOf) {
	r.out = wire.AppendText(r.out, wire.FieldDataContentType, p.contentType)
	r.out = wire.AppendText(r.out, wire.FieldDataSchema, p.schema)
	r.out = wire.AppendBytes(r.out, wire.FieldData, p.data)
}

// lift encodes data as typed fields where dataschema says that they are Millrace's. All other data
// stays byte for byte, whatever it looks like: its meaning is the sender's. So does data with members
// that this version does not know.
func (r *Reader) lift(p payloadOf) bool {
	if p.schema != DataSchema || !p.object || p.contentType != "" && !strings.EqualFold(event.MediaType(p.contentType), event.ContentTypeJSON) {
		return false
	}
	outer, src, at, extras := len(r.members), r.src, len(r.out), len(r.extra)
	r.src, r.strict = p.data, true
	ok := r.liftMembers(outer)
	r.src, r.strict, r.members = src, false, r.members[:outer]
	if !ok {
		r.out, r.extra, r.path = r.out[:at], r.extra[:extras], r.path[:0]
	}
	return ok
}

func (r *Reader) liftMembers(outer int) bool {
	s := jsontext.Scanner{Src: r.src, MaxDepth: r.depth}
	if r.collect(&s, outer) != nil || len(r.members) == outer {
		return false
	}
	var seen uint64
	for i := range r.members[:outer] {
		if m := &r.members[i]; !m.drop && m.spec.role == roleTyped {
			seen |= m.bit()
		}
	}
	for i := outer; i < len(r.members); i++ {
		m := &r.members[i]
		m.spec = members[m.name]
		if m.spec.alias || seen&m.bit() != 0 || m.secondSignal(seen) {
			return false
		}
		seen |= m.bit()
		if !r.liftMember(m) {
			return false
		}
	}
	return true
}

func (r *Reader) liftMember(m *member) bool {
	switch {
	case m.spec.role == roleTyped && m.first == 'n':
		return true // absent
	case m.spec.role == roleTyped:
		return r.typed(m) == nil
	case m.spec.role == rolePayload:
		return m.first == '{' && r.liftPayload(m)
	}
	return false
}

// liftPayload takes the payload that travels beside typed members in data.
func (r *Reader) liftPayload(m *member) bool {
	outer := len(r.members)
	src := r.src
	defer func() { r.members, r.src = r.members[:outer], src }()
	s := jsontext.Scanner{Src: src, At: m.From, MaxDepth: r.depth}
	if r.collect(&s, outer) != nil {
		return false
	}
	for i := outer; i < len(r.members); i++ {
		m := &r.members[i]
		m.spec = memberOf(m.name)
		switch m.name {
		case "data", "data_base64", "datacontenttype", "dataschema":
		default:
			return false
		}
	}
	before := len(r.extra)
	p := r.payloadOf(r.members[outer:])
	if len(r.extra) > before {
		return false
	}
	r.appendPayload(p)
	return true
}
