package model

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// answer is what a condition says of an event. Like in CEL, an error is an answer, which the other side of && and || may make irrelevant.
type answer uint8

const (
	no answer = iota
	yes
	failed
)

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// condition is an expression and what it means.
type condition struct {
	text string
	of   func(*ev) answer
}

// newCondition draws a condition, with some conditions in it.
func newCondition(lot *rand.Rand, depth int) condition {
	if depth > 0 && lot.IntN(3) > 0 {
		a, b := newCondition(lot, depth-1), newCondition(lot, depth-1)
		switch lot.IntN(3) {
		case 0:
			return condition{"(" + a.text + ") && (" + b.text + ")", func(e *ev) answer { return both(a.of(e), b.of(e), no, yes) }}
		case 1:
			return condition{"(" + a.text + ") || (" + b.text + ")", func(e *ev) answer { return both(a.of(e), b.of(e), yes, no) }}
		}
		return condition{"!(" + a.text + ")", func(e *ev) answer {
			switch a.of(e) {
			case yes:
				return no
			case no:
				return yes
			}
			return failed
		}}
	}
	return simple(lot)
}

// both is && where decides is no, and || where it is yes.
func both(a, b, decides, other answer) answer {
	switch {
	case a == decides || b == decides:
		return decides
	case a == failed || b == failed:
		return failed
	}
	return other
}

func simple(lot *rand.Rand) condition {
	name, value := pick(lot, names), pick(lot, []string{"x", "y"})
	switch lot.IntN(6) {
	case 0:
		n := lot.IntN(25)
		return condition{fmt.Sprintf("event.severity >= %d", n), func(e *ev) answer { return is(e.severity >= n) }}
	case 1:
		kind := pick(lot, kinds)
		return condition{fmt.Sprintf("event.type == '%s'", kind), func(e *ev) answer { return is(e.kind == kind) }}
	case 2:
		return condition{"event.subject.startsWith('delta/')", func(e *ev) answer { return is(strings.HasPrefix(e.subject, "delta/")) }}
	case 3:
		return condition{fmt.Sprintf("event.attributes[?'%s'].orValue('') == '%s'", name, value), func(e *ev) answer { return is(e.attributes[name] == value) }}
	case 4:
		return condition{fmt.Sprintf("'%s' in event.attributes", name), func(e *ev) answer { _, ok := e.attributes[name]; return is(ok) }}
	}
	return condition{fmt.Sprintf("event.attributes['%s'] == '%s'", name, value), func(e *ev) answer {
		v, ok := e.attributes[name]
		if !ok {
			return failed
		}
		return is(v == value)
	}}
}
