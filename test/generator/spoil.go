package generator

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// placed is a line and where it goes: before the valid line of that number.
type placed struct {
	before int
	line   []byte
}

// spoil mixes invalid, undecodable and repeated lines into the valid ones.
func (s *script) spoil(lines [][]byte, t *Truth) [][]byte {
	var more []placed
	for i := range s.o.Invalid {
		at := s.r.IntN(len(lines))
		more = append(more, placed{at, invalid(lines[at], i)})
	}
	for i := range s.o.Undecodable {
		at := s.r.IntN(len(lines))
		more = append(more, placed{at, undecodable(lines[at], i)})
	}
	for _, at := range s.r.Perm(len(lines))[:s.o.Duplicates] {
		// Two seconds of the story later at the most.
		again := min(at+1+s.r.IntN(max(len(lines)/300, 1)), len(lines))
		more = append(more, placed{again, lines[at]})
	}
	t.Counts.Invalid, t.Counts.Undecodable, t.Counts.Duplicates = s.o.Invalid, s.o.Undecodable, s.o.Duplicates
	slices.SortStableFunc(more, func(a, b placed) int { return cmp.Compare(a.before, b.before) })
	out := make([][]byte, 0, len(lines)+len(more))
	for i, line := range lines {
		for len(more) > 0 && more[0].before == i {
			out, more = append(out, more[0].line), more[1:]
		}
		out = append(out, line)
	}
	for _, m := range more {
		out = append(out, m.line)
	}
	return out
}

// invalid takes a required attribute from a line: its id, its source or its type. What is
// left of the id is no id of another event.
func invalid(line []byte, i int) []byte {
	remove := func(line []byte, name string) []byte {
		from := bytes.Index(line, []byte(`"`+name+`":"`))
		rest := line[from+len(name)+4:]
		end := bytes.IndexByte(rest, '"')
		after := bytes.TrimPrefix(rest[end+1:], []byte(","))
		return append(line[:from:from], after...)
	}
	rename := func(line []byte) []byte {
		return bytes.Replace(line, []byte(`"id":"`), fmt.Appendf(nil, `"id":"invalid-%d-`, i), 1)
	}
	switch i % 4 {
	case 0:
		return remove(line, "id")
	case 1:
		return remove(rename(line), "source")
	case 2:
		return remove(rename(line), "type")
	}
	return bytes.Replace(remove(line, "id"), []byte(`{`), []byte(`{"id":"",`), 1)
}

// undecodable is a line that is not JSON.
func undecodable(line []byte, i int) []byte {
	switch i % 4 {
	case 0:
		return append([]byte(nil), line[:len(line)*2/3]...)
	case 1:
		return fmt.Appendf(nil, "E1123 09:51:07.%06d       1 controller.go:%d] not JSON at all: the collector sent its own log", i, 100+i)
	case 2:
		return append(append([]byte(nil), line...), `,"trailing":`...)
	}
	return fmt.Appendf(nil, "<event number=%q>this is XML</event>", fmt.Sprint(i))
}
