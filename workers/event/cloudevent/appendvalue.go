package cloudevent

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/jsontext"
)

// objectWriter appends one JSON object, member by member.
type objectWriter struct {
	b     []byte
	start int
}

func openObject(b []byte) objectWriter { return objectWriter{b: append(b, '{'), start: len(b) + 1} }

func (w *objectWriter) empty() bool { return len(w.b) == w.start }

// key begins a member.
func (w *objectWriter) key(name string) {
	if !w.empty() {
		w.b = append(w.b, ',')
	}
	w.b = append(jsontext.AppendQuoted(w.b, name), ':')
}

func (w *objectWriter) text(name, s string) {
	if s != "" {
		w.key(name)
		w.b = jsontext.AppendQuoted(w.b, s)
	}
}

func (w *objectWriter) close() []byte { return append(w.b, '}') }

func appendQuotedTime(b []byte, nanos int64) []byte {
	return append(event.AppendTime(append(b, '"'), nanos), '"')
}

func appendQuotedHex(b, v []byte) []byte {
	return append(hex.AppendEncode(append(b, '"'), v), '"')
}

// appendNumber appends a double. It always reads as one (1.0, not 1); what JSON has no
// number for is text, as in protojson.
func appendNumber(b []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(b, `"-Infinity"`...)
	}
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e15) {
		format = 'e'
	}
	from := len(b)
	b = strconv.AppendFloat(b, v, format, -1, 64)
	for _, c := range b[from:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, ".0"...)
}

func appendKeyValueJSON(b []byte, kv *eventv1.KeyValue) []byte {
	switch v := kv.GetValue().(type) {
	case *eventv1.KeyValue_StringValue:
		return jsontext.AppendQuoted(b, v.StringValue)
	case *eventv1.KeyValue_IntValue:
		return strconv.AppendInt(b, v.IntValue, 10)
	case *eventv1.KeyValue_DoubleValue:
		return appendNumber(b, v.DoubleValue)
	case *eventv1.KeyValue_BoolValue:
		return strconv.AppendBool(b, v.BoolValue)
	case *eventv1.KeyValue_BytesValue:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), v.BytesValue), '"')
	}
	return append(b, `""`...) // a key without a value
}

// fewPairs is up to how many pairs it costs less to compare their keys than to make a map of them.
const fewPairs = 16

// lastPairs calls put with each pair that no later one replaces.
func lastPairs(pairs []*eventv1.KeyValue, put func(*eventv1.KeyValue)) {
	var last map[string]int
	if len(pairs) > fewPairs {
		last = make(map[string]int, len(pairs))
		for i, kv := range pairs {
			last[kv.GetKey()] = i
		}
	}
	for i, kv := range pairs {
		if last == nil && !replacedLater(pairs, i) || last != nil && last[kv.GetKey()] == i {
			put(kv)
		}
	}
}

// replacedLater tells whether a later pair has the key of pair i.
func replacedLater(pairs []*eventv1.KeyValue, i int) bool {
	for _, kv := range pairs[i+1:] {
		if kv.GetKey() == pairs[i].GetKey() {
			return true
		}
	}
	return false
}

// appendPairs appends an object of scalars; of pairs with one key the last counts.
func appendPairs(b []byte, pairs []*eventv1.KeyValue) []byte {
	w := openObject(b)
	lastPairs(pairs, func(kv *eventv1.KeyValue) {
		w.key(kv.GetKey())
		w.b = appendKeyValueJSON(w.b, kv)
	})
	return w.close()
}

// appendMessage appends a nested message as an object with its members in the order of
// their field numbers.
func appendMessage(b []byte, of *messageSpec, m protoreflect.Message) []byte {
	w := openObject(b)
	for _, f := range of.fields {
		if !m.Has(f.desc) {
			continue
		}
		w.key(f.name)
		w.b = appendField(w.b, f, m.Get(f.desc))
	}
	return w.close()
}

func appendField(b []byte, f *fieldSpec, v protoreflect.Value) []byte {
	if !f.list {
		return appendSingle(b, f, v)
	}
	b = append(b, '[')
	for i := range v.List().Len() {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSingle(b, f, v.List().Get(i))
	}
	return append(b, ']')
}

func appendSingle(b []byte, f *fieldSpec, v protoreflect.Value) []byte {
	switch f.kind {
	case kindMessage:
		return appendMessage(b, f.of, v.Message())
	case kindText:
		return jsontext.AppendQuoted(b, v.String())
	case kindInt32, kindSint64:
		return strconv.AppendInt(b, v.Int(), 10)
	case kindUint32, kindUint64:
		return strconv.AppendUint(b, v.Uint(), 10)
	case kindDouble:
		return appendNumber(b, v.Float())
	case kindTime:
		return appendQuotedTime(b, int64(v.Uint()))
	case kindHex:
		return appendQuotedHex(b, v.Bytes())
	}
	return append(b, "null"...) // pairs and data are written by their own functions
}

// oneLine returns JSON text without the line breaks of pretty printing; anything else
// stays as it is. (Within strings JSON has no line breaks.)
func oneLine(data []byte) []byte {
	if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0 {
		return data
	}
	out := make([]byte, 0, len(data))
	for _, c := range data {
		if c == '\n' || c == '\r' {
			c = ' '
		}
		out = append(out, c)
	}
	return out
}
