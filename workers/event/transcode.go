package event

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
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
	strict  bool // nothing may be unknown, and names are exact
	unset   bool // the severity number is 0: there is none, and others say what it is
}

// member is one member of the object in hand.
type member struct {
	span
	name  string
	spec  memberSpec
	first byte // of the value: what kind it is
	drop  bool
}

// extra is an unknown member of a typed one, kept as an attribute.
type extra struct {
	key   string
	value Value
}

var errStrict = errors.New("not a typed member") // internal: data stays as it is

// event returns the encoded event. The result is valid until the next call.
func (t *transcoder) event(b []byte) ([]byte, error) {
	t.src, t.out, t.extra, t.strict = b, t.out[:0], t.extra[:0], false
	s := scanner{b: b, max: t.d.limits.MaxDepth}
	if s.peek() != '{' {
		return nil, s.unexpected("a JSON object")
	}
	if err := t.collect(&s, 0); err != nil {
		return nil, err
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	known := t.resolve()
	t.unset = false
	if err := t.all(known); err != nil {
		return nil, err
	}
	if t.unset {
		t.out, t.extra = t.out[:0], t.extra[:0]
		if err := t.all(known &^ bitSeverityNumber); err != nil {
			return nil, err
		}
	}
	if err := t.payload(); err != nil {
		return nil, err
	}
	for _, x := range t.extra {
		t.out = appendKeyValue(t.out, fieldAttributes, x.key, x.value)
	}
	return t.out, nil
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

// blame says which member is wrong. What is inside of a typed one names its own offset.
func (t *transcoder) blame(m *member, err error) error {
	if m.spec.role == roleTyped && (m.first == '{' || m.first == '[') {
		return fmt.Errorf("member %q: %w", clip(m.name), err)
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
// as absent, an alias counts when the thing itself is absent, and of signals the first. It returns the bits of
// what is there.
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
	s := scanner{b: t.src, i: m.from, max: t.d.limits.MaxDepth}
	return t.scalar(&s)
}

// typed encodes a typed member.
func (t *transcoder) typed(m *member) error {
	s := scanner{b: t.src, i: m.from, max: t.d.limits.MaxDepth}
	if m.spec.field.num == fieldBody && !t.strict {
		v, err := t.scalar(&s) // what is no string is kept as its JSON text
		t.out = appendText(t.out, fieldBody, v.Text())
		return err
	}
	return t.value(m.spec.field, &s, m.name)
}

// attribute encodes a member that is a CloudEvents attribute or extension, from JSON or
// from a header.
func (t *transcoder) attribute(name string, spec memberSpec, v Value, known uint64) error {
	switch spec.role {
	case roleSpec:
		if version := v.Text(); version != "1.0" {
			return fmt.Errorf("CloudEvents %q is not supported, only 1.0", clip(version))
		}
		return nil
	case roleAttribute:
		return t.field(name, spec, v, known)
	case roleTraceparent:
		t.traceparent(name, v)
		return nil
	case roleCorrelation:
		var start int
		t.out, start = open(t.out, fieldCorrelation)
		t.out = appendText(t.out, spec.sub, v.Text())
		t.out = shut(t.out, start)
		return nil
	case roleSeverity:
		return t.severity(name, v, known)
	}
	t.extension(name, v)
	return nil
}

// traceparent encodes a trace context. W3C: an invalid one starts no trace; it is kept for
// a person.
func (t *transcoder) traceparent(name string, v Value) {
	trace, err := ParseTraceparent(v.Str())
	if err != nil {
		t.extension(name, v)
		return
	}
	t.out = appendBytes(t.out, fieldTraceID, trace.TraceID[:])
	t.out = appendBytes(t.out, fieldSpanID, trace.SpanID[:])
	t.out = appendUint(t.out, fieldTraceFlags, uint64(trace.Flags))
}

// field encodes an attribute that has a field of its own.
func (t *transcoder) field(name string, spec memberSpec, v Value, known uint64) (err error) {
	switch spec.field.num {
	case fieldTraceID, fieldSpanID, fieldParentSpanID:
		want := 8
		if spec.field.num == fieldTraceID {
			want = 16
		}
		if len(v.Str()) != 2*want || !isHex(v.Str()) {
			t.extension(name, v) // not a W3C id: kept, but not as one
			return nil
		}
	case fieldSeverity:
		if n, ok := whole(v); !ok || n < 0 || n > severityLast {
			return fmt.Errorf("the severity number is %s: want 1 to 24", clip(v.Text()))
		} else if n == 0 {
			t.unset = true
		}
	case fieldSeverityText:
		t.severityOf(v.Text(), known)
	}
	t.out, err = appendScalar(t.out, spec.field, v)
	return err
}

// severity takes member severity, a number or a text, where the exact members are absent.
func (t *transcoder) severity(name string, v Value, known uint64) error {
	n, isNumber := whole(v)
	switch {
	case isNumber && n >= 1 && n <= severityLast && known&bitSeverityNumber == 0:
		t.out = appendUint(t.out, fieldSeverity, uint64(n))
	case !isNumber && known&bitSeverityText == 0:
		t.out = appendText(t.out, fieldSeverityText, v.Text())
		t.severityOf(v.Text(), known)
	default:
		t.extension(name, v)
	}
	return nil
}

// severityOf adds the number that a severity text means, unless there is one.
func (t *transcoder) severityOf(text string, known uint64) {
	if known&bitSeverityNumber == 0 {
		t.out = appendUint(t.out, fieldSeverity, uint64(SeverityNumber(text)))
	}
}

// extension keeps a member that has no field: as an extension if CloudEvents allows its
// name and type, as an attribute otherwise.
func (t *transcoder) extension(name string, v Value) {
	num := protowire.Number(fieldAttributes)
	if freeName(name) && extensionValue(v) {
		num = fieldExtensions
	}
	t.out = appendKeyValue(t.out, num, name, v)
}

// freeName tells whether an extension can have this name: CloudEvents allows it (lower-case
// ASCII letters and digits), and nothing else is read from it.
func freeName(name string) bool {
	if memberOf(name).role != roleUnknown {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// extensionValue tells whether CloudEvents has the type of v: text, bool and 32-bit integers.
func extensionValue(v Value) bool {
	n, _ := v.Int()
	switch v.kind {
	case Int:
		return n == int64(int32(n))
	case String:
		return !v.json
	}
	return v.kind == Bool
}
