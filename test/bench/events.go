package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

const (
	// storyEvents is how many events one story of ten minutes holds; a run has several, one
	// after the other, in the same cluster.
	storyEvents = 100_000
	// shortestStory is how many one holds at least: all incidents are in it.
	shortestStory = 10_000
	// warmUpEvents are published before the clock starts.
	warmUpEvents = 20_000
	// warmUpSeed is the seed of their story; no story of the run has it.
	warmUpSeed = 10_000
)

// blob is a list of byte strings in one piece of memory, so that the garbage collector of
// the publisher has nothing to do with them.
type blob struct {
	data []byte
	ends []int
}

func (b *blob) add(item []byte) {
	b.data = append(b.data, item...)
	b.ends = append(b.ends, len(b.data))
}

func (b *blob) len() int { return len(b.ends) }

func (b *blob) at(i int) []byte {
	from := 0
	if i > 0 {
		from = b.ends[i-1]
	}
	return b.data[from:b.ends[i]:b.ends[i]]
}

// join appends all of another blob.
func (b *blob) join(other blob) {
	from := len(b.data)
	b.data = append(b.data, other.data...)
	for _, end := range other.ends {
		b.ends = append(b.ends, from+end)
	}
}

// events are what a run publishes, in both forms and the same order.
type events struct {
	n int
	// lines are the first of them as JSON, one a message.
	lines blob
	// frames are all of them; frame k holds those from k*perFrame on.
	frames   blob
	perFrame int
	// position maps the number in an id to the position in the order.
	position []int32
	// snapshot is the cluster that they are about.
	snapshot []byte
}

// makeEvents makes n events or more, in whole stories or in one that is shorter: the first jsonEvents as JSON too, and all
// in frames of perFrame, which divides storyEvents and such an n.
func makeEvents(n, jsonEvents, perFrame int) (*events, error) {
	story := min(max(n, shortestStory), storyEvents)
	stories := (n + story - 1) / story
	parts := make([]*events, stories)
	errs := make([]error, stories)
	var group sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i := range stories {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			parts[i], errs[i] = makeStory(i+1, story, i*story < jsonEvents, perFrame)
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all := &events{n: stories * story, perFrame: perFrame, snapshot: parts[0].snapshot}
	for i, part := range parts {
		all.lines.join(part.lines)
		all.frames.join(part.frames)
		for _, p := range part.position {
			all.position = append(all.position, p+int32(i*story))
		}
	}
	return all, nil
}

// makeStory makes the events of one story. The same seed makes the same events.
func makeStory(seed, n int, lines bool, perFrame int) (*events, error) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	story, err := generator.Generate(generator.Options{
		Seed: uint64(seed), Events: n, End: began.Add(time.Duration(seed) * generator.Length),
	})
	if err != nil {
		return nil, fmt.Errorf("make events: %w", err)
	}
	out := &events{n: n, perFrame: perFrame, snapshot: story.Snapshot, position: make([]int32, n)}
	decoder := decode.New(decode.Limits{})
	var writer frame.Writer
	for i, line := range story.Lines {
		if lines {
			out.lines.add(line)
		}
		decoded, bad := decoder.Decode(nil, decode.Message{Data: line})
		if len(decoded) != 1 || len(bad) != 0 {
			return nil, fmt.Errorf("event %d of story %d is no event", i, seed)
		}
		_, number, ok := parseID(decoded[0].ID)
		if !ok || number > n {
			return nil, fmt.Errorf("event %d of story %d has the id %q", i, seed, decoded[0].ID)
		}
		out.position[number-1] = int32(i)
		if i%perFrame == 0 {
			writer.Begin(frame.Header{})
		}
		writer.Add(&decoded[0])
		if writer.Len() == perFrame || i == n-1 {
			out.frames.add(writer.AppendTo(nil))
		}
		decoder.Reset()
	}
	return out, nil
}

// parseID reads demo-<story>-<number>.
func parseID(id string) (story, number int, ok bool) {
	rest, ok := strings.CutPrefix(id, "demo-")
	if !ok {
		return 0, 0, false
	}
	a, b, _ := strings.Cut(rest, "-")
	story, err := strconv.Atoi(a)
	if err != nil {
		return 0, 0, false
	}
	number, err = strconv.Atoi(b)
	return story, number, err == nil && number > 0
}

// positionOf is the position of an event in the order of publishing; false for one that is
// no part of the run, such as those of the warm-up.
func (e *events) positionOf(id string) (int, bool) {
	story, number, ok := parseID(id)
	i := (story-1)*storyEvents + number - 1
	if !ok || story >= warmUpSeed || i < 0 || i >= len(e.position) {
		return 0, false
	}
	return int(e.position[i]), true
}
