package kubernetes

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// OpenTelemetry severity numbers.
const (
	severityInfo  = 9
	severityWarn  = 13
	severityError = 17
)

// finding is a value of an aspect that the ledger does not have yet.
type finding struct {
	aspect, value string
	// event is what to publish; nil only records the value. Its id, source, cluster and
	// observed time are filled in later.
	event *eventv1.Event
	// at is when it happened; zero = it lasts.
	at time.Time
	// young says that earlier releases did not know the aspect.
	young bool
}

// history tells whether a finding is older than what is published.
func (f finding) history(since, upgraded time.Time) bool {
	if f.at.IsZero() {
		return false
	}
	return f.at.Before(since) || f.young && f.at.Before(upgraded)
}

// past tells what was published about an object before.
type past struct {
	record *record
	// old says that the object was there before the collector's first start: what happened
	// to it before that is not counted.
	old bool
	// first says that the kind is listed for the first time in this run. Such a list may come from
	// an API server that lags behind.
	first bool
}

func (p past) value(aspect string) string { return p.record.value(aspect) }

// number is the leading integer of a value; -1 = there is no value.
func number(value string) int64 {
	text, _, _ := strings.Cut(value, ".")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// later tells whether a value of the form <unix seconds>.<anything> is newer than the last
// one: of a later second, or different within the same.
func later(value, last string) bool {
	n, before := number(value), number(last)
	return n > before || n == before && value != last
}

// count is a count of an object as an id has it, and by how much it went up since the last published
// one. A count that went down starts anew: the kubelet or the node was reset, and everything that is
// counted now is new. Its value is then <count>.<epoch>, as are those that follow, for the ids of the
// first epoch are taken. A first list may be old, so what it says is no reset.
func (p past) count(aspect string, count int64, at time.Time) (value string, delta int64) {
	value = strconv.FormatInt(count, 10)
	last := p.value(aspect)
	n := number(last)
	_, epoch, again := strings.Cut(last, ".")
	if again {
		value += "." + epoch
	}
	switch {
	case n < 0 && p.old:
		return value, min(count, 1)
	case n < 0:
		return value, count
	case count >= n:
		return value, count - n
	case p.first:
		return last, 0
	}
	begun := max(at.Unix(), 0)
	if again && begun <= run(last) {
		begun = run(last) + 1
	}
	return fmt.Sprintf("%d.%d", count, begun), count
}

func unix(t metav1.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// nanos is t in Unix nanoseconds; 0 = unset.
func nanos(t time.Time) uint64 {
	if t.IsZero() || t.Unix() <= 0 {
		return 0
	}
	return uint64(t.UnixNano())
}

func stringValue(key, value string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}}
}

func intValue(key string, value int64) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_IntValue{IntValue: value}}
}
