package analyze

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// Attributes tell the series of one entity and metric apart: a device, a container, a direction, a status code. Such
// attributes have few values. What differs with every event is no part of a series, or each value would be one.
const (
	maxLabels     = 8
	maxLabelBytes = 256 // of all keys and values
	maxLabelKey   = 64
	maxLabelValue = 64
	// wideBits of 64 are set in the map of an attribute that had about 130 values (linear counting: Whang and others 1990).
	wideBits = 56
	// maxCombined bounds the series of a family: of two attributes with 50 values each there may be 2,500.
	maxCombined = 256
)

// labelResource is a resource attribute that tells series apart: an entity Pod has several containers.
const labelResource = "k8s.container.name"

// label is an attribute of a series.
type label struct{ key, value string }

type labels []label

// text is {key=value, ...} in the order of the keys, empty without labels.
func (l labels) text() string {
	if len(l) == 0 {
		return ""
	}
	parts := make([]string, len(l))
	for i, a := range l {
		parts[i] = a.key + "=" + a.value
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (l labels) attributes() (out []*eventv1.KeyValue) {
	for _, a := range l {
		out = append(out, &eventv1.KeyValue{Key: a.key, Value: &eventv1.KeyValue_StringValue{StringValue: a.value}})
	}
	return out
}

// clone sorts l, and copies it out of an event.
func (l labels) clone() labels {
	out := make(labels, len(l))
	for i, a := range l {
		out[i] = label{strings.Clone(a.key), strings.Clone(a.value)}
	}
	slices.SortFunc(out, func(a, b label) int { return strings.Compare(a.key, b.key) })
	return out
}

// appendLabels appends the attributes of an event that may tell its series apart.
func appendLabels(l labels, e *event.Event) labels {
	bytes := 0
	add := func(key, value string) {
		if len(l) < maxLabels && bytes+len(key)+len(value) <= maxLabelBytes {
			l, bytes = append(l, label{key, value}), bytes+len(key)+len(value)
		}
	}
	e.Attributes(func(key string, v event.Value) bool {
		if k := v.Kind(); k == event.String || k == event.Int || k == event.Bool {
			if value := v.Text(); tells(key, value) {
				add(key, value)
			}
		}
		return len(l) < maxLabels
	})
	if container, ok := e.Resource(labelResource); ok && tells(labelResource, container) {
		add(labelResource, container)
	}
	return l
}

// maxChosen bounds the value of an attribute that somebody chose to tell series apart.
const maxChosen = 256

// appendChosen appends the attributes, or resource attributes, of an event that somebody chose to tell series apart.
func appendChosen(l labels, e *event.Event, keys []string) labels {
	for _, key := range keys {
		value, ok := "", false
		if v, is := e.Attribute(key); is {
			value, ok = v.Text(), true
		}
		if !ok {
			value, ok = e.Resource(key)
		}
		if len(value) > maxChosen { // long values that differ are series that differ
			value = fmt.Sprintf("%s...%016x", strings.ToValidUTF8(value[:maxChosen-20], ""), xxh3.HashString(value))
		}
		if ok && value != "" {
			l = append(l, label{key, value})
		}
	}
	return l
}

// sum is over all labels, whatever their order.
func (l labels) sum() (sum uint64) {
	for _, a := range l {
		sum += a.sum()
	}
	return sum
}

func (a label) sum() uint64 { return sumOf(xxh3.HashString(a.key), xxh3.HashString(a.value)) }

func sumOf(key, value uint64) uint64 { return bits.RotateLeft64(key, 32) * (value | 1) }

// tells says whether an attribute may tell series apart, as far as one event shows it.
func tells(key, value string) bool {
	if key == "" || value == "" || len(key) > maxLabelKey || len(value) > maxLabelValue || key == LimitAttribute {
		return false
	}
	for _, end := range [...]string{".id", "_id", "uid", "timestamp", ".time"} {
		if strings.HasSuffix(key, end) {
			return false
		}
	}
	return len(value) < 16 || strings.Trim(value, "0123456789abcdefABCDEF-") != "" // an id, or a large number
}

// family is what is known of the attributes of one entity and metric.
type family struct {
	epoch  int64 // the half hour of stream time that the counts are of
	series int   // made in it
	last   int64 // the event time of the newest value of all
	attrs  [maxLabels]attribute
	n      int
}

// attribute is one that was seen, by the hash of its key.
type attribute struct {
	key  uint64
	seen uint64 // a bit for the hash of each value
	wide bool   // had too many values
}

// narrow removes the attributes from l that have too many values, and returns a sum over the rest that does not
// hang on their order.
func (f *family) narrow(l labels, now int64) (labels, uint64) {
	if epoch := now / int64(rebuildAnomaly); epoch != f.epoch {
		f.epoch, f.series = epoch, 0
		for i := range f.attrs[:f.n] {
			f.attrs[i].seen = 0
		}
	}
	kept, sum := l[:0], uint64(0)
	for _, a := range l {
		key, value := xxh3.HashString(a.key), xxh3.HashString(a.value)
		at := f.attr(key)
		if at == nil || at.wide {
			continue
		}
		at.seen |= 1 << (value % 64)
		if at.wide = bits.OnesCount64(at.seen) >= wideBits; at.wide {
			continue
		}
		kept = append(kept, a)
		sum += sumOf(key, value)
	}
	return kept, sum
}

// attr is the attribute of a key; nil when there are too many.
func (f *family) attr(key uint64) *attribute {
	for i := range f.attrs[:f.n] {
		if f.attrs[i].key == key {
			return &f.attrs[i]
		}
	}
	if f.n == maxLabels {
		return nil
	}
	f.attrs[f.n] = attribute{key: key}
	f.n++
	return &f.attrs[f.n-1]
}

// grown counts a series, and ends the attribute with the most values when there are too many.
func (f *family) grown() {
	if f.series++; f.series <= maxCombined {
		return
	}
	f.series = 0
	widest := -1
	for i := range f.attrs[:f.n] {
		if a := &f.attrs[i]; !a.wide && (widest < 0 || bits.OnesCount64(a.seen) > bits.OnesCount64(f.attrs[widest].seen)) {
			widest = i
		}
	}
	if widest >= 0 {
		f.attrs[widest].wide = true
	}
}
