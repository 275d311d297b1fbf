package event

import (
	"errors"
	"fmt"
)

// DataSchema is the CloudEvents dataschema of events whose data holds typed members.
const DataSchema = "https://millrace.dev/event/v1"

// transcoder turns one JSON object, native or a structured CloudEvent, into an encoded
// event. Its buffers are used again.
type transcoder struct {
	d       *Decoder
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
	span
	name  string
	spec  memberSpec
	first byte // of the value: what kind it is
	drop  bool
}

// extra is a part of a typed member that has no field or does not fit its field. It is kept
// as an attribute.
type extra struct {
	key   string
	value Value
}

var errStrict = errors.New("not a typed member") // internal: data stays as it is

// event returns the encoded event. The result is valid until the next call.
func (t *transcoder) event(b []byte) ([]byte, error) {
	t.begin(b)
	s := newScanner(b, t.d.limits.MaxDepth)
	if s.peek() != '{' {
		return nil, s.unexpected("a JSON object")
	}
	if err := t.collect(&s, 0); err != nil {
		return nil, err
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	if err := t.attributes(); err != nil {
		return nil, err
	}
	t.payload(t.payloadOf(t.members))
	return t.finished(), nil
}

// begin makes t ready for another event.
func (t *transcoder) begin(src []byte) {
	t.src, t.out, t.extra, t.members, t.headersOf, t.path, t.strict = src, t.out[:0], t.extra[:0], t.members[:0], nil, t.path[:0], false
}

// attributes encodes the members apart from the payload.
func (t *transcoder) attributes() error {
	known := t.resolve()
	t.unset = false
	if err := t.all(known); err != nil {
		return err
	}
	if t.unset {
		t.out, t.extra = t.out[:0], t.extra[:0]
		return t.all(known &^ bitSeverityNumber)
	}
	return nil
}

// finished returns the event, with what has no field as attributes.
func (t *transcoder) finished() []byte {
	for _, x := range t.extra {
		t.out = appendKeyValue(t.out, fieldAttributes, x.key, x.value)
	}
	return t.out
}

// all encodes the top-level members.
func (t *transcoder) all(known uint64) error {
	for i := range t.members {
		m := &t.members[i]
		if m.drop {
			continue
		}
		if err := t.top(m, known); err != nil {
			return t.blame(m, err)
		}
	}
	return nil
}

// blame says which member is wrong.
func (t *transcoder) blame(m *member, err error) error {
	if t.headersOf != nil {
		return fmt.Errorf("header ce-%s: %w", clip(m.name), err)
	}
	return fmt.Errorf("member %q at offset %d: %w", clip(m.name), m.from, err)
}

// collect appends the members of the object at s to t.members[at:].
func (t *transcoder) collect(s *scanner, at int) error {
	t.members = t.members[:at]
	for more, err := s.enter('{'); ; more, err = s.another('}') {
		if err != nil || !more {
			return err
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		m := member{name: t.text(s, name), first: s.peek()}
		m.from = s.i
		if err := s.skip(); err != nil {
			return fmt.Errorf("member %q: %w", clip(m.name), err)
		}
		m.to = s.i
		t.members = append(t.members, m)
	}
}

// resolve decides what each member is: of two with one name the last counts, null counts
// as absent, an alias counts when the thing itself is absent, and of signals the first. A member that is named
// like a typed object but is none is an unknown one: CloudEvents lets a sender use any name. It returns the
// bits of what is there.
func (t *transcoder) resolve() (known uint64) {
	aliases, again := false, false
	for i := range t.members {
		m := &t.members[i]
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
		known = t.dropEarlier(known)
	}
	if aliases {
		known = t.resolveAliases(known)
	}
	return known
}

// dropEarlier drops all but the last of the members with one name.
func (t *transcoder) dropEarlier(known uint64) uint64 {
	var seen uint64
	for i := len(t.members) - 1; i >= 0; i-- {
		m := &t.members[i]
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
func (t *transcoder) resolveAliases(known uint64) uint64 {
	exact := known
	var last [64]int // by the bits that aliases made known
	for i := range t.members {
		m := &t.members[i]
		if !m.spec.alias {
			continue
		}
		again := known&^exact&m.bit() != 0 && t.members[last[m.spec.bit]].name == m.name
		switch {
		case again:
			t.members[last[m.spec.bit]].drop = true
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
func (t *transcoder) top(m *member, known uint64) error {
	switch m.spec.role {
	case roleData, roleData64:
		return nil
	case roleTyped:
		return t.typed(m)
	}
	if m.spec.role == roleAttribute && (m.spec.field.num == fieldDataContentType || m.spec.field.num == fieldDataSchema) {
		return nil
	}
	v, err := t.member(m)
	if err != nil {
		return err
	}
	return t.attribute(m.name, m.spec, v, known)
}

// member returns the value of a member; objects and arrays as their JSON text.
func (t *transcoder) member(m *member) (Value, error) {
	if t.headersOf != nil {
		return StringValue(t.headersOf[m.from].value), nil
	}
	s := scanner{b: t.src, i: m.from, max: t.d.limits.MaxDepth}
	return t.scalar(&s)
}

// typed encodes a typed member.
func (t *transcoder) typed(m *member) error {
	f := m.spec.field
	if f.opens != 0 {
		s := scanner{b: t.src, i: m.from, max: t.d.limits.MaxDepth}
		return t.value(f, m.name, &s)
	}
	v, err := t.member(m)
	if f.num == fieldBody { // what is no string is kept as its JSON text
		t.out = appendText(t.out, fieldBody, v.Text())
		return err
	}
	t.fit(f, m.name, v)
	return err
}
