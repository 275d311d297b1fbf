package jsontext

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

var newline = []byte{'\n'}

// Reader reads the texts of events one by one from a stream: objects, one a line or spread over
// lines, and the elements of arrays of objects. It holds one text at a time.
//
// What is no event comes as a text of its own, mostly a line: whoever decodes it says what is wrong.
type Reader struct {
	in   io.Reader
	max  int // bytes of a text
	cut  Cutter
	buf  []byte
	from int   // what is left of buf begins here
	at   int   // the line of it, from 0
	line int   // the line of the last text, from 1
	err  error // in has ended
	// failed is why no more texts come.
	failed error
	begun  bool
}

// MaxText is the longest text of an event in a file, in bytes.
const MaxText = 8 << 20

// minRead is the room that a read gets, in bytes.
const minRead = 64 << 10

// NewReader returns a reader of in. A text longer than limit bytes is cut there: it is no event, and its
// beginning is enough to recognise it by.
func NewReader(in io.Reader, limit int) *Reader {
	return &Reader{in: in, max: limit, cut: Cutter{MaxDepth: DefaultDepth}}
}

// Next returns the next text, which is valid until the next call. It ends with io.EOF. Other errors say
// what the input is instead, or where an array is broken so that nothing behind can be told apart.
func (r *Reader) Next() ([]byte, error) {
	for r.failed == nil {
		rest := r.buf[r.from:]
		if !r.begun && (len(rest) >= 4 || r.err != nil) {
			r.begun = true
			if r.failed = Foreign(rest); r.failed != nil {
				break
			}
		}
		if r.begun && len(rest) > 0 {
			t := r.cut.Cut(rest, r.err != nil)
			r.line = r.at + bytes.Count(rest[:t.From], newline) + 1
			r.at += bytes.Count(rest[:t.Size], newline)
			r.from += t.Size
			switch {
			case t.Err != nil && t.Text == nil:
				r.failed = t.Err
				return nil, t.Err
			case t.Text != nil:
				r.failed = t.Err
				return t.Text[:min(len(t.Text), r.max)], nil
			case !t.Wait:
				continue
			case r.err == nil && len(r.buf)-r.from >= r.max:
				return r.tooLong(), nil
			}
		}
		if r.err != nil {
			return nil, r.end()
		}
		r.read()
	}
	return nil, r.failed
}

// All yields what Next returns, and ends behind an error.
func (r *Reader) All() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			text, err := r.Next()
			if errors.Is(err, io.EOF) || !yield(text, err) || err != nil {
				return
			}
		}
	}
}

// Line is the line at which the last text begins, from 1.
func (r *Reader) Line() int { return r.line }

// end is how the input has ended.
func (r *Reader) end() error {
	r.failed = r.err
	if errors.Is(r.err, io.EOF) && r.cut.InArray {
		r.failed = r.cut.noEnd()
	}
	return r.failed
}

// read reads some more.
func (r *Reader) read() {
	if r.from > 0 {
		r.buf = r.buf[:copy(r.buf, r.buf[r.from:])]
		r.from = 0
	}
	if cap(r.buf)-len(r.buf) < minRead {
		r.buf = append(make([]byte, 0, 2*cap(r.buf)+minRead), r.buf...)
	}
	n, err := r.in.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	r.err = err
}

// tooLong returns the beginning of a text that is too long, and passes over the rest of it.
func (r *Reader) tooLong() []byte {
	text := bytes.Clone(r.buf[r.from : r.from+r.max])
	var n nesting
	for object := text[0] == '{'; ; {
		rest := r.buf[r.from:]
		switch {
		case object:
			used := n.next(rest)
			if next := bytes.Index(rest[:used], []byte("\n{")); next >= 0 && !r.cut.InArray {
				r.drop(next) // an object of its own
				return text
			}
			r.drop(used)
			object = !n.closed() && !n.broken
		case r.cut.InArray && n.closed():
			return text
		case r.cut.InArray:
			r.failed = fmt.Errorf("the array is broken before byte %d: where the next event begins cannot be told", r.cut.at)
			return text
		default:
			if end := bytes.IndexByte(rest, '\n'); end >= 0 {
				r.drop(end)
				return text
			}
			r.drop(len(rest))
		}
		if r.from == len(r.buf) {
			if r.err != nil {
				return text
			}
			r.read()
		}
	}
}

// drop passes over n bytes.
func (r *Reader) drop(n int) {
	r.at += bytes.Count(r.buf[r.from:r.from+n], newline)
	r.from += n
	r.cut.at += int64(n)
}
