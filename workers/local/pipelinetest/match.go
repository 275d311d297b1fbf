package pipelinetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// missing stands for a member that is not there.
type missing struct{}

// difference is a place at which an event is not as it is described.
type difference struct {
	path      string
	want, got any // missing where there is none
}

// comparison is how an event compares with its description.
type comparison struct {
	differences []difference
	same        []difference // places at which both are alike
}

func (c *comparison) equal() bool { return len(c.differences) == 0 }

// nearer says that c is more like its description than another one.
func (c *comparison) nearer(than *comparison) bool {
	if len(c.differences) != len(than.differences) {
		return len(c.differences) < len(than.differences)
	}
	return len(c.same) > len(than.same)
}

// compare compares an event with its description: what is not described may be anything, unless the description is exact.
func compare(want map[string]any, got view, exact bool) *comparison {
	c := &comparison{}
	if _, told := want["ingesttime"]; exact && !told {
		got = maps.Clone(got)
		delete(got, "ingesttime")
	}
	c.objects("", want, got, exact)
	return c
}

func (c *comparison) objects(path string, want, got map[string]any, exact bool) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		at := name
		if path != "" {
			at = path + "." + name
		}
		have, ok := got[name]
		if !ok {
			have = missing{}
		}
		c.values(at, want[name], have, exact)
	}
	if !exact {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, told := want[name]; !told {
			at := name
			if path != "" {
				at = path + "." + name
			}
			c.differences = append(c.differences, difference{at, missing{}, got[name]})
		}
	}
}

func (c *comparison) values(path string, want, got any, exact bool) {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			c.objects(path, w, g, exact)
			return
		}
	case []any:
		if g, ok := got.([]any); ok && len(g) == len(w) {
			for i := range w {
				c.values(path+"["+strconv.Itoa(i)+"]", w[i], g[i], exact)
			}
			return
		}
	case nil:
		if got == nil || got == (missing{}) {
			c.same = append(c.same, difference{path, want, got})
			return
		}
		c.differences = append(c.differences, difference{path, missing{}, got})
		return
	default:
		if alike(want, got) {
			c.same = append(c.same, difference{path, want, got})
			return
		}
	}
	c.differences = append(c.differences, difference{path, want, got})
}

// alike compares scalars: numbers by their value, times by the moment.
func alike(want, got any) bool {
	if w, ok := want.(json.Number); ok {
		g, ok := got.(json.Number)
		return ok && sameNumber(w, g)
	}
	w, text := want.(string)
	g, also := got.(string)
	if !text || !also {
		return want == got
	}
	if w == g {
		return true
	}
	wanted, err := time.Parse(time.RFC3339Nano, w)
	if err != nil {
		return false
	}
	have, err := time.Parse(time.RFC3339Nano, g)
	return err == nil && wanted.Equal(have)
}

// sameNumber compares whole numbers as such: a double has 53 bits for them.
func sameNumber(want, got json.Number) bool {
	w, err := want.Int64()
	g, also := got.Int64()
	if err == nil && also == nil {
		return w == g
	}
	x, err := want.Float64()
	y, also := got.Float64()
	return err == nil && also == nil && x == y
}

// assign gives each description an event of its own that fits, as many as can be (augmenting paths; Kuhn 1955). With inOrder the events come in the
// order of the descriptions. It returns the event of each description, -1 for none.
func assign(wants, events int, inOrder bool, fits func(want, event int) bool) []int {
	of := slices.Repeat([]int{-1}, wants)
	if inOrder {
		next := 0
		for w := range wants {
			for e := next; e < events; e++ {
				if fits(w, e) {
					of[w], next = e, e+1
					break
				}
			}
		}
		return of
	}
	taken := slices.Repeat([]int{-1}, events)
	var place func(w int, tried []bool) bool
	place = func(w int, tried []bool) bool {
		for e := range events {
			if tried[e] || !fits(w, e) {
				continue
			}
			tried[e] = true
			if taken[e] < 0 || place(taken[e], tried) {
				taken[e], of[w] = w, e
				return true
			}
		}
		return false
	}
	for w := range wants {
		place(w, make([]bool, events))
	}
	return of
}

// text writes a value as people read it.
func text(v any) string {
	if v == (missing{}) {
		return "not set"
	}
	var buffer bytes.Buffer
	e := json.NewEncoder(&buffer)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	b := bytes.TrimSpace(buffer.Bytes())
	const longest = 400
	if len(b) > longest {
		return string(b[:longest]) + " ..."
	}
	return string(b)
}
