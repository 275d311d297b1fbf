package gather

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/jsontext"
	"millrace.dev/millrace/workers/stage/call"
)

// Bounds of a reply, for each event that it is about.
const (
	maxReplyBytes = 64 << 10
	maxAttributes = 64
	maxName       = 256
	maxDepth      = 64
)

// maxReply bounds a reply as a whole, whatever it is about.
const maxReply = 4 << 20

// replyBound is how many bytes a reply about n events may have.
func replyBound(n int) int { return min(n*maxReplyBytes, maxReply) }

// reply is what one responder says to a request.
type reply struct {
	// who is the name of the responder; empty = it says none.
	who string
	// items are about one event each; all says what holds for every one where there are none.
	items []item
	all   item
	// result is the value of the metric label.
	result string
}

// item is an answer about one event, or why there is none.
type item struct {
	answer  answer
	failure *failure
}

// answer has the attributes to merge.
type answer []attribute

type attribute struct {
	name  string
	value event.Value
}

// of is what the reply says of event n of the request.
func (r *reply) of(n int) item {
	if r.items == nil {
		return r.all
	}
	return r.items[n]
}

// works says whether the reply shows that the responder works, whatever it thinks of the event.
func (r *reply) works() bool { return r.result == resultAnswer || r.result == resultRefused }

// failed is a reply that says the same of every event.
func failed(why failure) reply {
	return reply{all: item{failure: &why}, result: why.reason}
}

// parse reads a reply about n events: an object, or where the request is a list, a list of as many. An object with an error may stand for a list.
// What is no reply is one that says so.
func parse(body []byte, n int, list bool) reply {
	if size := replyBound(n); len(body) > size {
		return failed(failure{resultMalformed, fmt.Errorf("the reply has %d bytes, must have %d at most", len(body), size)})
	}
	p := parser{Scanner: jsontext.NewScanner(body, maxDepth)}
	r, err := p.reply(n, list)
	if err == nil {
		err = p.End()
	}
	if err != nil {
		return failed(failure{resultMalformed, fmt.Errorf("the reply cannot be read: %w", err)})
	}
	r.result = resultAnswer
	for i := range max(len(r.items), 1) {
		if it := r.of(i); it.failure != nil {
			r.result = it.failure.reason
		}
	}
	return r
}

type parser struct {
	jsontext.Scanner
	who string
}

func (p *parser) reply(n int, list bool) (r reply, err error) {
	if p.Peek() != '[' || !list {
		r.all, err = p.item()
		if r.who = p.who; err == nil && list && r.all.failure == nil {
			err = fmt.Errorf("it is one answer, and must be a list of %d", n)
		}
		return r, err
	}
	r.items = make([]item, 0, n)
	for more, err := p.Enter('['); ; more, err = p.Another(']') {
		if err != nil {
			return r, err
		}
		if !more {
			break
		}
		it, err := p.item()
		if err != nil {
			return r, fmt.Errorf("item %d: %w", len(r.items), err)
		}
		r.items = append(r.items, it)
	}
	if r.who = p.who; len(r.items) != n {
		return r, fmt.Errorf("it has %d answers to %d events", len(r.items), n)
	}
	return r, nil
}

// item reads {"attributes": {...}} or {"error": {"message": "...", "permanent": true}}, with the name of the responder.
func (p *parser) item() (it item, err error) {
	found := false
	err = p.object(func(name string) error {
		switch {
		case name == "attributes" && p.Peek() == '{':
			found = true
			it.answer, err = p.attributes()
			return err
		case name == "error" && p.Peek() == '{':
			found = true
			it.failure, err = p.failure()
			return err
		case name == "responder" && p.Peek() == '"':
			p.who, err = p.text()
			return err
		}
		return p.Skip()
	})
	if err == nil && !found {
		err = errors.New("it has neither attributes nor an error")
	}
	return it, err
}

func (p *parser) failure() (*failure, error) {
	text, permanent := "no reason", false
	err := p.object(func(name string) (err error) {
		switch {
		case name == "message" && p.Peek() == '"':
			text, err = p.text()
			return err
		case name == "permanent" && p.Peek() == 't':
			permanent = true
		}
		return p.Skip()
	})
	why := &failure{resultError, errors.New(short(text))}
	if permanent {
		why.reason = resultRefused
	}
	return why, err
}

func (p *parser) attributes() (a answer, err error) {
	err = p.object(func(name string) error {
		if name == "" || len(name) > maxName {
			return fmt.Errorf("the name of an attribute has %d bytes, must have 1 to %d", len(name), maxName)
		}
		null := p.Peek() == 'n'
		v, err := p.value()
		if err != nil || null {
			return err
		}
		if i := slices.IndexFunc(a, func(one attribute) bool { return one.name == name }); i >= 0 {
			a[i].value = v
			return nil
		}
		if a = append(a, attribute{name, v}); len(a) > maxAttributes {
			return fmt.Errorf("it has more than %d attributes", maxAttributes)
		}
		return nil
	})
	return a, err
}

// object calls member at the value of each member.
func (p *parser) object(member func(name string) error) error {
	for more, err := p.Enter('{'); ; more, err = p.Another('}') {
		if err != nil || !more {
			return err
		}
		at, err := p.Name()
		if err != nil {
			return err
		}
		if err := member(p.string(at)); err != nil {
			return err
		}
	}
}

// value reads a text, a truth, a number; lists and objects are kept as their text, and a number that is too large for an int64 or a double, too.
func (p *parser) value() (event.Value, error) {
	switch c := p.Peek(); c {
	case '"':
		text, err := p.text()
		return event.StringValue(text), err
	case 't':
		return event.BoolValue(true), p.Word("true")
	case 'f':
		return event.BoolValue(false), p.Word("false")
	case '{', '[', 'n':
		from := p.At
		err := p.Skip()
		return event.JSONValue(string(p.Src[from:p.At])), err
	}
	number, err := p.Number()
	if err != nil {
		return event.Value{}, err
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		return event.IntValue(n), nil
	}
	if d, err := strconv.ParseFloat(number, 64); err == nil && strings.ContainsAny(number, ".eE") {
		return event.DoubleValue(d), nil
	}
	return event.StringValue(number), nil
}

func (p *parser) text() (string, error) {
	at, err := p.Text()
	if err != nil {
		return "", err
	}
	return p.string(at), nil
}

func (p *parser) string(at jsontext.Text) string {
	raw := p.Src[at.From:at.To]
	if at.Escaped {
		raw = jsontext.AppendUnescaped(nil, raw)
	}
	return string(raw)
}

// short is what people read of a text that others wrote.
func short(text string) string { return call.Short(call.Printable(text)) }
