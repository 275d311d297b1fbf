package join

import (
	"bytes"
	"math/bits"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event"
)

// Fields of an encoded event (api/event/v1) that are not merged like others.
const (
	fieldRelated    = 17
	fieldResource   = 21
	fieldAttributes = 22
	firstSignal     = 24
	lastSignal      = 32
	fieldEnrichment = 43
	fieldSpanLinks  = 44
	fieldExtensions = 53
	numbers         = 64
)

const (
	// keyed are fields whose entries have a name, which is their first field.
	keyed = 1<<fieldResource | 1<<fieldAttributes | 1<<fieldExtensions | 1<<fieldEnrichment
	lists = 1<<fieldRelated | 1<<fieldSpanLinks
	// signals are fields of which an event has one.
	signals = 1<<(lastSignal+1) - 1<<firstSignal
)

// encoded is an event by its fields.
type encoded struct {
	raw    []byte
	fields []field
	// first and last are those of a number, as an index of fields plus one; 0 = there is none.
	first, last [numbers]int
	present     uint64 // set of numbers
}

// field is raw[start:end], with its tag; what it holds begins at value.
type field struct {
	start, value, end int
	next              int // of its number, as an index plus one
}

// read reads the fields of an event, which is whole. It is false for what is merged in its decoded form: what this release does not know, and the result of
// a join before.
func (e *encoded) read(raw []byte) bool {
	for p := e.present; p != 0; p &= p - 1 {
		n := bits.TrailingZeros64(p)
		e.first[n], e.last[n] = 0, 0
	}
	e.raw, e.fields, e.present = raw, e.fields[:0], 0
	for i := 0; i < len(raw); {
		num, _, value, next := event.Field(raw, i)
		if next == 0 || num >= numbers {
			return false
		}
		f := field{start: i, value: value, end: next}
		i = next
		if num == fieldAttributes && ofJoin(raw[f.value:f.end]) {
			return false
		}
		e.add(num, f)
	}
	return true
}

func (e *encoded) add(num uint32, f field) {
	e.fields = append(e.fields, f)
	at := len(e.fields)
	if last := e.last[num]; last != 0 {
		e.fields[last-1].next = at
	} else {
		e.first[num] = at
	}
	e.last[num] = at
	e.present |= 1 << num
}

func (e *encoded) whole(f field) []byte { return e.raw[f.start:f.end] }

// each visits the fields of a number, in order, until visit is false.
func (e *encoded) each(num int, visit func(f field) bool) bool {
	for at := e.first[num]; at != 0; at = e.fields[at-1].next {
		if !visit(e.fields[at-1]) {
			return false
		}
	}
	return true
}

// same says whether two events have the same fields of a number.
func (e *encoded) same(o *encoded, num int) bool {
	a, b := e.first[num], o.first[num]
	for a != 0 && b != 0 {
		if !bytes.Equal(e.whole(e.fields[a-1]), o.whole(o.fields[b-1])) {
			return false
		}
		a, b = e.fields[a-1].next, o.fields[b-1].next
	}
	return a == b
}

// nameTag begins an entry that has a name: it is field 1, a text.
const nameTag = 1<<3 | byte(protowire.BytesType)

// nameOf is the name of an entry, ok = it has one that stands first.
func nameOf(entry []byte) (name []byte, ok bool) {
	if len(entry) == 0 || entry[0] != nameTag {
		return nil, false
	}
	name, size := protowire.ConsumeBytes(entry[1:])
	return name, size >= 0
}

// ofJoin says whether an attribute is one that joins set.
func ofJoin(attribute []byte) bool {
	name, ok := nameOf(attribute)
	return !ok || bytes.HasPrefix(name, []byte(attributePrefix))
}

// merger merges encoded events as mergeInto merges decoded ones, where nothing is in conflict.
type merger struct {
	to, from encoded
	names    []entryName // scratch
}

// entryName is the name of an entry of a field.
type entryName struct {
	num  int
	name []byte
}

// extend returns what the answers of a barrier have in common with what each has besides. ok is false where one of them has something that others have, too.
func (m *merger) extend(b *barrier) (result []byte, ok bool) {
	common, size := len(b.first), spare
	for i := range b.answers {
		common = min(common, b.answers[i].shared)
		size += b.answers[i].size()
	}
	taken, ok := numbersOf(b.first[:common])
	if common == 0 || !ok {
		return nil, false
	}
	m.names = m.names[:0]
	if b.answers[0].shared == len(b.first) {
		result = b.first[:common]
	} else {
		result = append(make([]byte, 0, size-common*(len(b.answers)-1)), b.first[:common]...)
	}
	for i := range b.answers {
		a := &b.answers[i]
		for _, part := range [2][]byte{b.first[common:a.shared], a.rest} {
			if len(part) == 0 {
				continue
			}
			if taken, ok = m.besides(b.first[:common], taken, part); !ok {
				return nil, false
			}
			result = append(result, part...)
		}
	}
	return result, true
}

// numbersOf is the set of the numbers of the fields of an event. ok is as in read.
func numbersOf(raw []byte) (present uint64, ok bool) {
	for i := 0; i < len(raw); {
		num, _, value, next := event.Field(raw, i)
		if next == 0 || num >= numbers || num == fieldAttributes && ofJoin(raw[value:next]) {
			return 0, false
		}
		present |= 1 << num
		i = next
	}
	return present, true
}

// hasEntry says whether an event has an entry of a name among the fields of a number.
func hasEntry(raw []byte, num int, name []byte) bool {
	for i := 0; i < len(raw); {
		n, _, value, next := event.Field(raw, i)
		if n == uint32(num) {
			if other, ok := nameOf(raw[value:next]); !ok || bytes.Equal(other, name) {
				return true
			}
		}
		i = next
	}
	return false
}

// besides says whether fields go with those that all have in common, and with other numbers that are taken; it returns all that are taken then.
func (m *merger) besides(common []byte, taken uint64, part []byte) (all uint64, ok bool) {
	if !m.from.read(part) {
		return 0, false
	}
	if one := m.from.present & signals; one != 0 && (one&(one-1) != 0 || taken&signals != 0) {
		return 0, false
	}
	for p := m.from.present; p != 0; p &= p - 1 {
		num := bits.TrailingZeros64(p)
		switch bit := uint64(1) << num; {
		case bit&keyed != 0:
			if !m.newNames(common, num) {
				return 0, false
			}
		case bit&taken != 0, bit&lists != 0 && !m.distinct(num):
			return 0, false
		}
	}
	return taken | m.from.present, true
}

// newNames says whether no entry of a number has a name that another one has.
func (m *merger) newNames(common []byte, num int) bool {
	return m.from.each(num, func(f field) bool {
		name, ok := nameOf(m.from.raw[f.value:f.end])
		if !ok || len(m.names) == few {
			return false
		}
		if hasEntry(common, num, name) {
			return false
		}
		for _, n := range m.names {
			if n.num == num && bytes.Equal(n.name, name) {
				return false
			}
		}
		m.names = append(m.names, entryName{num, name})
		return true
	})
}

// merge returns the first event with what the others add. ok is false where they have to be merged in their decoded form.
func (m *merger) merge(answers [][]byte) (result []byte, ok bool) {
	size := spare
	for _, a := range answers {
		size += len(a)
	}
	result = append(make([]byte, 0, size), answers[0]...)
	if !m.to.read(result) {
		return nil, false
	}
	for i, a := range answers[1:] {
		if i > 0 && !m.to.read(result) {
			return nil, false
		}
		if !m.from.read(a) {
			return nil, false
		}
		if result, ok = m.add(result); !ok {
			return nil, false
		}
	}
	return result, true
}

// spare is room for the attributes of a result, in bytes.
const spare = 160

// add appends what from has and to lacks.
func (m *merger) add(result []byte) (longer []byte, ok bool) {
	if one := m.from.present & signals; one != 0 && m.to.present&signals != one {
		if one&(one-1) != 0 || m.to.present&signals != 0 {
			return nil, false
		}
	}
	for p := m.from.present; p != 0; p &= p - 1 {
		num := bits.TrailingZeros64(p)
		switch bit := uint64(1) << num; {
		case m.from.same(&m.to, num):
		case bit&keyed != 0:
			if result, ok = m.addNamed(result, num); !ok {
				return nil, false
			}
		case bit&m.to.present != 0, bit&lists != 0 && !m.distinct(num):
			return nil, false
		default:
			m.from.each(num, func(f field) bool {
				result = append(result, m.from.whole(f)...)
				return true
			})
		}
	}
	return result, true
}

// addNamed appends the entries of a number that to lacks.
func (m *merger) addNamed(result []byte, num int) (longer []byte, ok bool) {
	t, f := m.to.first[num], m.from.first[num]
	for t != 0 && f != 0 && bytes.Equal(m.to.whole(m.to.fields[t-1]), m.from.whole(m.from.fields[f-1])) { // most are what both have received
		t, f = m.to.fields[t-1].next, m.from.fields[f-1].next
	}
	if m.to.more(t) || m.from.more(f) { // each is looked for among all
		return nil, false
	}
	for ; t != 0; t = m.to.fields[t-1].next {
		name, ok := m.to.name(t)
		if twin, _ := m.to.find(num, name, t); !ok || twin != 0 { // it takes the place of another
			return nil, false
		}
	}
	before := len(result)
	for ; f != 0; f = m.from.fields[f-1].next {
		name, ok := m.from.name(f)
		if !ok || named(result[before:], name) {
			return nil, false
		}
		entry := m.from.whole(m.from.fields[f-1])
		twin, ok := m.to.find(num, name, 0)
		switch {
		case !ok || twin != 0 && !bytes.Equal(m.to.whole(m.to.fields[twin-1]), entry):
			return nil, false
		case twin == 0:
			result = append(result, entry...)
		}
	}
	return result, true
}

// few is how many entries of a field are compared one by one.
const few = 64

// more says whether more than a few entries of a number are left from one on.
func (e *encoded) more(at int) bool {
	for range few {
		if at == 0 {
			return false
		}
		at = e.fields[at-1].next
	}
	return at != 0
}

// name is that of an entry, ok = it has one that stands first.
func (e *encoded) name(at int) (name []byte, ok bool) {
	f := e.fields[at-1]
	return nameOf(e.raw[f.value:f.end])
}

// find finds the last entry of a name that stands before another one (0 = all do); 0 = there is none. ok is false where an entry has no name.
func (e *encoded) find(num int, name []byte, before int) (twin int, ok bool) {
	for at := e.first[num]; at != before; at = e.fields[at-1].next {
		other, ok := e.name(at)
		if !ok {
			return 0, false
		}
		if bytes.Equal(other, name) {
			twin = at
		}
	}
	return twin, true
}

// named says whether one of some entries, with their tags, has a name.
func named(entries, name []byte) bool {
	for len(entries) > 0 {
		_, _, tag := protowire.ConsumeTag(entries)
		entry, size := protowire.ConsumeBytes(entries[tag:])
		if other, _ := nameOf(entry); bytes.Equal(other, name) {
			return true
		}
		entries = entries[tag+size:]
	}
	return false
}

// distinct says whether from has a few entries of a number, and no two are the same.
func (m *merger) distinct(num int) bool {
	if m.from.more(m.from.first[num]) {
		return false
	}
	var seen [][]byte
	return m.from.each(num, func(f field) bool {
		entry := m.from.whole(f)
		if slices.ContainsFunc(seen, func(other []byte) bool { return bytes.Equal(other, entry) }) {
			return false
		}
		seen = append(seen, entry)
		return true
	})
}

// Fields of an attribute.
const (
	attributeKey    = 1
	attributeString = 2
	attributeInt    = 3
)

// appendText appends an attribute, if it has a value.
func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	size := protowire.SizeTag(attributeKey) + protowire.SizeBytes(len(key)) + protowire.SizeTag(attributeString) + protowire.SizeBytes(len(value))
	b = appendKey(b, key, size)
	return protowire.AppendString(protowire.AppendTag(b, attributeString, protowire.BytesType), value)
}

// appendInt appends an attribute that is a number.
func appendInt(b []byte, key string, value int64) []byte {
	size := protowire.SizeTag(attributeKey) + protowire.SizeBytes(len(key)) + protowire.SizeTag(attributeInt) + protowire.SizeVarint(uint64(value))
	b = appendKey(b, key, size)
	return protowire.AppendVarint(protowire.AppendTag(b, attributeInt, protowire.VarintType), uint64(value))
}

func appendKey(b []byte, key string, size int) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldAttributes, protowire.BytesType), uint64(size))
	return protowire.AppendString(protowire.AppendTag(b, attributeKey, protowire.BytesType), key)
}
