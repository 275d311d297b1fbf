package cloudevent

import (
	"errors"
	"fmt"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/arena"
	"millrace.dev/millrace/workers/event/internal/wire"
	"millrace.dev/millrace/workers/event/jsontext"
)

// DataSchema is the CloudEvents dataschema of events whose data holds typed members.
const DataSchema = "https://millrace.dev/event/v1"

// Reader turns one event after another, a JSON object or a binary CloudEvent, into an encoded one.
// Its buffers are used again.
type Reader struct {
	memory  *arena.Arena // of texts that are no part of what is read
	depth   int          // how deep JSON may nest
	src     []byte
	members []member
	extra   []extra
	out     []byte
	// headersOf are what the members were made of in binary mode: member.from is the place there.
	// nil = the members stand in src.
	headersOf []ceHeader
	path      []step // where in a typed member the value in hand stands
	strict    bool   // nothing may be unknown, and names are exact
	unset     bool   // there is no severity number that counts, and others say what it is
}

// member is one member of the object in hand.
type member struct {
	jsontext.Span
	name  string
	spec  memberSpec
	first byte // of the value: what kind it is
	drop  bool
}

// extra is a part of a typed member that has no field or does not fit its field. It is kept
// as an attribute.
type extra struct {
	key   string
	value event.Value
}

var errStrict = errors.New("not a typed member") // internal: data stays as it is

// NewReader returns a reader with this memory, of objects that nest so deep at most.
func NewReader(memory *arena.Arena, depth int) Reader {
	return Reader{memory: memory, depth: depth}
}

// Reset lets go of unusual room.
func (r *Reader) Reset() { r.members = arena.Kept(r.members) }

// Object returns the encoded event that a JSON object is, native or a structured CloudEvent. The
// result is valid until the next call. It may share memory with b.
func (r *Reader) Object(b []byte) ([]byte, error) {
	r.begin(b)
	s := jsontext.NewScanner(b, r.depth)
	if s.Peek() != '{' {
		return nil, s.Unexpected("a JSON object")
	}
	if err := r.collect(&s, 0); err != nil {
		return nil, err
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	if err := r.attributes(); err != nil {
		return nil, err
	}
	r.payload(r.payloadOf(r.members))
	return r.finished(), nil
}

// begin makes t ready for another event.
func (r *Reader) begin(src []byte) {
	r.src, r.out, r.extra, r.members, r.headersOf, r.path, r.strict = src, r.out[:0], r.extra[:0], r.members[:0], nil, r.path[:0], false
}

// attributes encodes the members apart from the payload.
func (r *Reader) attributes() error {
	known := r.resolve()
	r.unset = false
	if err := r.all(known); err != nil {
		return err
	}
	if r.unset {
		r.out, r.extra = r.out[:0], r.extra[:0]
		return r.all(known &^ bitSeverityNumber)
	}
	return nil
}

// finished returns the event, with what has no field as attributes.
func (r *Reader) finished() []byte {
	for _, x := range r.extra {
		r.out = event.AppendKeyValue(r.out, wire.FieldAttributes, x.key, x.value)
	}
	return r.out
}

// all encodes the top-level members.
func (r *Reader) all(known uint64) error {
	for i := range r.members {
		m := &r.members[i]
		if m.drop {
			continue
		}
		if err := r.top(m, known); err != nil {
			return r.blame(m, err)
		}
	}
	return nil
}

// blame says which member is wrong.
func (r *Reader) blame(m *member, err error) error {
	if r.headersOf != nil {
		return fmt.Errorf("header ce-%s: %w", wire.Clip(m.name), err)
	}
	return fmt.Errorf("member %q at offset %d: %w", wire.Clip(m.name), m.From, err)
}

// collect appends the members of the object at s to r.members[at:].
func (r *Reader) collect(s *jsontext.Scanner, at int) error {
	r.members = r.members[:at]
	for more, err := s.Enter('{'); ; more, err = s.Another('}') {
		if err != nil || !more {
			return err
		}
		name, err := s.Name()
		if err != nil {
			return err
		}
		m := member{name: r.text(s, name), first: s.Peek()}
		m.From = s.At
		if err := s.Skip(); err != nil {
			return fmt.Errorf("member %q: %w", wire.Clip(m.name), err)
		}
		m.To = s.At
		r.members = append(r.members, m)
	}
}

// resolve decides what each member is: of two with one name the last counts, null counts
// as absent, an alias counts when the thing itself is absent, and of signals the first. A member that is named
// like a typed object but is none is an unknown one: CloudEvents lets a sender use any name. It returns the
// bits of what is there.
func (r *Reader) resolve() (known uint64) {
	aliases, again := false, false
	for i := range r.members {
		m := &r.members[i]
		if m.drop = m.first == 'n'; m.drop {
			again = true // it may stand behind a value
			continue
		}
		m.spec = memberOf(m.name)
		switch {
		case m.spec.role == roleUnknown:
		case m.spec.opens != 0 && m.first != m.spec.opens:
			m.spec = memberSpec{}
		case m.spec.alias:
			aliases = true
		case known&m.bit() != 0:
			again = true
		case m.secondSignal(known):
			m.spec = memberSpec{}
		default:
			known |= m.bit()
		}
	}
	if again {
		known = r.dropEarlier(known)
	}
	if aliases {
		known = r.resolveAliases(known)
	}
	return known
}

// dropEarlier drops all but the last of the members with one name.
func (r *Reader) dropEarlier(known uint64) uint64 {
	var seen uint64
	for i := len(r.members) - 1; i >= 0; i-- {
		m := &r.members[i]
		if m.drop {
			m.spec = memberOf(m.name)
		}
		switch {
		case m.spec.role == roleUnknown || m.spec.alias:
		case seen&m.bit() != 0:
			m.drop = true
		default:
			seen |= m.bit()
			if m.drop {
				known &^= m.bit()
			}
		}
	}
	return known
}

// resolveAliases has aliases count where the thing itself is absent: the first one, and of two with
// its name the last.
func (r *Reader) resolveAliases(known uint64) uint64 {
	exact := known
	var last [64]int // by the bits that aliases made known
	for i := range r.members {
		m := &r.members[i]
		if !m.spec.alias {
			continue
		}
		again := known&^exact&m.bit() != 0 && r.members[last[m.spec.bit]].name == m.name
		switch {
		case again:
			r.members[last[m.spec.bit]].drop = true
			if known &^= m.bit(); m.drop {
				continue
			}
		case m.drop:
			continue
		case known&m.bit() != 0 || m.secondSignal(known):
			m.spec = memberSpec{}
			continue
		}
		known |= m.bit()
		last[m.spec.bit] = i
	}
	return known
}

// secondSignal tells whether m is a signal and there is another one already. An event has
// one; what else comes is kept as an attribute.
func (m *member) secondSignal(known uint64) bool {
	return m.bit()&bitsSignal != 0 && known&bitsSignal != 0
}

func memberOf(name string) memberSpec {
	if spec := members[name]; spec.role != rolePayload {
		return spec
	}
	return memberSpec{}
}

func (m *member) bit() uint64 { return 1 << m.spec.bit }

// The bits of members that depend on each other.
var (
	bitSeverityNumber = uint64(1) << members["severitynumber"].bit
	bitSeverityText   = uint64(1) << members["severitytext"].bit
	bitsSignal        = signalBits()
)

func signalBits() (bits uint64) {
	for _, m := range members {
		if m.field != nil && m.field.desc.ContainingOneof() != nil {
			bits |= 1 << m.bit
		}
	}
	return bits
}

// top encodes one top-level member. The payload and what describes it come later.
func (r *Reader) top(m *member, known uint64) error {
	switch m.spec.role {
	case roleData, roleData64:
		return nil
	case roleTyped:
		return r.typed(m)
	}
	if m.spec.role == roleAttribute && (m.spec.field.num == wire.FieldDataContentType || m.spec.field.num == wire.FieldDataSchema) {
		return nil
	}
	v, err := r.member(m)
	if err != nil {
		return err
	}
	return r.attribute(m.name, m.spec, v, known)
}

// member returns the value of a member; objects and arrays as their JSON text.
func (r *Reader) member(m *member) (event.Value, error) {
	if r.headersOf != nil {
		return event.StringValue(r.headersOf[m.From].value), nil
	}
	s := jsontext.Scanner{Src: r.src, At: m.From, MaxDepth: r.depth}
	return r.scalar(&s)
}

// typed encodes a typed member.
func (r *Reader) typed(m *member) error {
	f := m.spec.field
	if f.opens != 0 {
		s := jsontext.Scanner{Src: r.src, At: m.From, MaxDepth: r.depth}
		return r.value(f, m.name, &s)
	}
	v, err := r.member(m)
	if f.num == wire.FieldBody { // what is no string is kept as its JSON text
		r.out = wire.AppendText(r.out, wire.FieldBody, v.Text())
		return err
	}
	r.fit(f, m.name, v)
	return err
}
