package join

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// second is a moment of the tests, by its number.
func second(n float64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(n * float64(time.Second)))
}

// said is a message of a branch: stored at a moment, with events that the ingress had stored until newest, and the watermark of the branch.
type said struct {
	branch                int
	stored, newest, until float64
	events                []string // JSON, or an id
}

func (s said) message() replay.Message {
	var lines []string
	for _, e := range s.events {
		if !strings.HasPrefix(e, "{") {
			e = fmt.Sprintf(`{"id":%q,"source":"s","type":"t"}`, e)
		}
		lines = append(lines, e)
	}
	return replay.Message{
		Stored: second(s.stored), Input: s.branch, Newest: second(s.newest), Until: second(s.until),
		Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}}, Data: []byte(strings.Join(lines, "\n")),
	}
}

func start(t *testing.T, change func(*config.Join)) (*replay.Instance, *prometheus.Registry) {
	t.Helper()
	c := configOf(change)
	metrics := prometheus.NewRegistry()
	s, err := NewFactory().New(stage.Settings{Config: &c, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	return replay.New(t, s), metrics
}

// pairs joins asks and replies by their subjects.
func pairs(j *config.Join) {
	j.Key, j.Expect, j.Merge = "event.subject", nil, config.JoinCollect
	j.Pairs = &config.JoinPairs{First: "event.type == 'ask'", Second: "event.type == 'reply'"}
}

func ofKey(id, kind, key string) string {
	return fmt.Sprintf(`{"id":%q,"source":"s","type":%q,"subject":%q}`, id, kind, key)
}

// results are what a join made, one line each: the id, how its barrier ended, and who answered, was silent and missing.
func results(steps []replay.Step) (lines []string) {
	for i, s := range steps {
		for _, p := range s.Produced {
			a := attributes(p.Event)
			line := fmt.Sprintf("%d: %s %s answered=%s", i, p.Event.GetId(), a["join.result"], a["join.answered"])
			for _, key := range []string{"silent", "missing", "conflicts"} {
				if v := a["join."+key]; v != "" {
					line += " " + key + "=" + v
				}
			}
			if p.Reason != "" {
				line += " dead=" + p.Reason
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func attributes(e *eventv1.Event) map[string]string {
	all := map[string]string{}
	for _, kv := range e.GetAttributes() {
		all[kv.GetKey()] = kv.GetStringValue()
		if v, ok := kv.GetValue().(*eventv1.KeyValue_IntValue); ok {
			all[kv.GetKey()] = fmt.Sprint(v.IntValue)
		}
	}
	return all
}

// TestBarriers: what completes a barrier, and when.
func TestBarriers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Join)
		said   []said
		want   []string
	}{
		"both answer": {
			said: []said{{0, 1, 1, 1, []string{"x"}}, {1, 2, 1, 1, []string{"x"}}},
			want: []string{"1: x complete answered=a,b"},
		},
		"one says nothing and is past it": {
			said: []said{{0, 1, 1, 1, []string{"x"}}, {1, 1.5, 0, .5, nil}, {1, 2, 0, 1, nil}},
			want: []string{"2: x silent answered=a silent=b"},
		},
		"one was past it before": {
			said: []said{{1, 1, 0, 5, nil}, {0, 2, 3, 3, []string{"x"}}},
			want: []string{"1: x silent answered=a silent=b"},
		},
		"an event of the same message does not make it wait": {
			said: []said{{0, 1, 2, 2, []string{"x", "y"}}, {1, 2, 2, 2, []string{"y"}}},
			want: []string{"1: y complete answered=a,b", "1: x silent answered=a silent=b"},
		},
		"a message that is not the last of its step says less": {
			said: []said{{0, 1, 3, 3, []string{"x", "y"}}, {1, 2, 3, 1, []string{"x"}}, {1, 2, 3, 3, []string{"y"}}},
			want: []string{"1: x complete answered=a,b", "2: y complete answered=a,b"},
		},
		"nobody knows how new the events are": {
			said: []said{{0, 1, 0, 9, []string{"x"}}, {1, 2, 0, 9, nil}, {1, 5, 0, 9, nil}},
			want: []string{"2: x timeout answered=a missing=b"},
		},
		"the deadline": {
			said: []said{{0, 1, 1, 1, []string{"x"}}, {0, 3, 2, 2, []string{"y"}}, {0, 4.5, 3, 3, nil}},
			want: []string{"2: x timeout answered=a missing=b"},
		},
		"the deadline, as a dead letter": {
			change: func(j *config.Join) { j.OnTimeout = config.JoinDeadLetter },
			said:   []said{{0, 1, 1, 1, []string{"x"}}, {0, 4.5, 3, 3, nil}},
			want:   []string{"1: x timeout answered=a missing=b dead=join_timeout"},
		},
		"late": {
			said: []said{{0, 1, 1, 1, []string{"x"}}, {0, 4.5, 3, 3, nil}, {1, 5, 1, 1, []string{"x"}}, {1, 9, 1, 1, []string{"x"}}, {1, 13, 1, 1, nil}},
			want: []string{"1: x timeout answered=a missing=b", "3: x silent answered=b silent=a"}, // it is forgotten by then
		},
		"who is not expected": {
			change: func(j *config.Join) { j.Expect = j.Expect[:1] },
			said:   []said{{1, 1, 1, 1, []string{"x"}}, {0, 2, 1, 1, []string{"x"}}, {0, 3, 2, 2, []string{"y"}}},
			want:   []string{"1: x complete answered=a,b", "2: y complete answered=a"},
		},
		"two answers of one branch": {
			said: []said{{0, 1, 1, 1, []string{"x", "x"}}, {1, 2, 1, 1, []string{"x"}}},
			want: []string{"1: x complete answered=a,b"},
		},
		"no room": {
			change: func(j *config.Join) { j.MaxPending = 2 },
			said:   []said{{0, 1, 1, 1, []string{"x", "y", "z"}}, {1, 2, 1, .5, []string{"x"}}, {1, 2, 1, 1, []string{"y", "z"}}},
			want:   []string{"0: x evicted answered=a missing=b", "2: y complete answered=a,b", "2: z complete answered=a,b"},
		},
		"no room for its bytes": {
			change: func(j *config.Join) { j.MaxBytes = 100 },
			said:   []said{{0, 1, 1, 1, []string{"x", `{"id":"y","source":"s","type":"t","message":"` + strings.Repeat("y", 90) + `"}`}}},
			want:   []string{"0: x evicted answered=a missing=b", "0: y evicted answered=a missing=b"},
		},
		"no room for its keys": { // without them it has 450 bytes
			change: func(j *config.Join) { j.Key, j.MaxBytes = "event.subject", 700 },
			said:   []said{{0, 1, 1, 1, []string{ofKey("x", "t", strings.Repeat("x", 200)), ofKey("y", "t", strings.Repeat("y", 200))}}},
			want:   []string{"0: x evicted answered=a missing=b"},
		},
		"pairs": {
			change: pairs,
			said: []said{
				{0, 1, 9, 9, []string{ofKey("q1", "ask", "k"), ofKey("q2", "ask", "l"), ofKey("x", "else", "k")}},
				{1, 2, 9, 9, []string{ofKey("r1", "reply", "k")}},
				{0, 3, 9, 9, []string{ofKey("q3", "ask", "k")}},
				{0, 3.5, 9, 9, []string{ofKey("r3", "reply", "k")}},
				{0, 4.5, 9, 9, nil},
				{0, 5, 9, 9, []string{ofKey("r2", "reply", "l")}},
				{0, 9, 9, 9, nil},
			},
			want: []string{
				"1: q1 complete answered=first,second", "3: q3 complete answered=first,second", "4: q2 unmatched answered=first missing=second",
				"6: r2 unmatched answered=second missing=first",
			},
		},
		"unmatched, as dead letters": {
			change: func(j *config.Join) { pairs(j); j.OnTimeout = config.JoinDeadLetter },
			said:   []said{{0, 1, 9, 9, []string{ofKey("q1", "ask", "k")}}, {0, 4.5, 9, 9, nil}},
			want:   []string{"1: q1 unmatched answered=first missing=second dead=join_timeout"},
		},
		"a key of its own": {
			change: func(j *config.Join) { j.Key = "event.subject" },
			said: []said{
				{0, 1, 1, 1, []string{`{"id":"x","source":"s","type":"t","subject":"one"}`}},
				{1, 2, 1, 1, []string{`{"id":"y","source":"s","type":"t","subject":"one"}`}},
			},
			want: []string{"1: x complete answered=a,b conflicts=id"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := start(t, c.change)
			var messages []replay.Message
			for _, s := range c.said {
				messages = append(messages, s.message())
			}
			if diff := cmp.Diff(c.want, results(in.Run(messages))); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLargeBarriers: a barrier ends before it holds more than its result may have, and the answer that does not fit into it is a dead letter as it came. A
// list of answers that fit is a message that a server takes with the usual max_payload.
func TestLargeBarriers(t *testing.T) {
	for name, c := range map[string]struct {
		bytes int // of the body of each answer
		want  string
		late  bool
	}{
		"too large together": {maxAnswers/2 + 1, "1: a evicted answered=a missing=b", true},
		"just small enough":  {maxAnswers/2 - 100, "1: a complete answered=a,b", false},
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := start(t, func(j *config.Join) { j.Merge = config.JoinCollect })
			large := fmt.Sprintf(`{"id":"a","source":"s","type":"t","body":%q}`, strings.Repeat("x", c.bytes))
			steps := in.Run([]replay.Message{
				said{branch: 0, stored: 1, newest: 1, until: 1, events: []string{large}}.message(),
				said{branch: 1, stored: 2, newest: 1, until: 1, events: []string{large}}.message(),
			})
			if diff := cmp.Diff([]string{c.want}, results(steps)); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if late := strings.Contains(strings.Join(steps[1].Text, "\n"), reasonLate); late != c.late {
				t.Errorf("the second answer is late: %t", late)
			}
			if size := proto.Size(steps[1].Produced[0].Event); size < c.bytes || size > 1<<20 {
				t.Errorf("the result has %d bytes", size)
			}
		})
	}
}

// TestKeysTakeRoom: keys of barriers that have ended are remembered for a deadline, as long as there is room.
func TestKeysTakeRoom(t *testing.T) {
	j := newTestJoin(t)
	j.maxBytes = 10_000
	in := replay.New(t, j)
	for i := range 200 { // each barrier waits for its deadline
		id := fmt.Sprintf("%0200d", i)
		in.Run([]replay.Message{said{0, 1 + float64(i)/20, 1, .5, []string{id}}.message()})
		held, keys := 0, 0
		for _, b := range j.open {
			held += len(b.key) + b.bytes
		}
		for key := range j.ended {
			keys += len(key)
		}
		if j.bytes != held+keys || j.remembered != keys || j.bytes > j.maxBytes {
			t.Fatalf("after %d events: %d bytes, of which %d are remembered; want %d and %d, and no more than %d", i+1, j.bytes, j.remembered, held+keys, keys, j.maxBytes)
		}
	}
	if len(j.ended) == 0 || len(j.ended) == 200-len(j.open) {
		t.Errorf("%d keys are remembered, %d barriers are open: want some, and not all", len(j.ended), len(j.open))
	}
	again := newTestJoin(t)
	again.maxBytes = j.maxBytes
	in.Move(again)
	if again.bytes != j.bytes || again.remembered != j.remembered {
		t.Errorf("restored: %d bytes, %d remembered, want %d and %d", again.bytes, again.remembered, j.bytes, j.remembered)
	}
}

// TestMergeOfLinks: the links of both answers are in the result, once, and are no conflict.
func TestMergeOfLinks(t *testing.T) {
	link := func(id string) *eventv1.Link { return &eventv1.Link{EventId: id} }
	to := &eventv1.Event{Correlation: &eventv1.Correlation{Links: []*eventv1.Link{link("1"), link("2")}}}
	from := &eventv1.Event{Correlation: &eventv1.Correlation{Links: []*eventv1.Link{link("2"), link("3")}}}
	before := proto.CloneOf(from)
	if conflicts := mergeInto(to, from); len(conflicts) > 0 {
		t.Errorf("conflicts %v", conflicts)
	}
	if got := len(to.GetCorrelation().GetLinks()); got != 3 {
		t.Errorf("%d links, want 3", got)
	}
	if !proto.Equal(before, from) {
		t.Error("the other answer is changed")
	}
}

// TestMerge: what the answers become, and what is recorded of it.
func TestMerge(t *testing.T) {
	in, _ := start(t, nil)
	steps := in.Run([]replay.Message{
		said{1, 1, 1, 1, []string{`{"id":"x","source":"s","type":"t","subject":"sub","attributes":{"b":1,"both":"b"},"severitynumber":9}`}}.message(),
		said{0, 2, 1, 1, []string{`{"id":"x","source":"s","type":"t","attributes":{"a":1,"both":"a"},"severitynumber":17}`}}.message(),
	})
	e := steps[1].Produced[0].Event
	got := attributes(e)
	for _, key := range []string{"join.a.ms", "join.b.ms"} { // times since the ingress, which is not known here
		if got[key] == "" {
			t.Errorf("%s is missing", key)
		}
		delete(got, key)
	}
	want := map[string]string{
		"a": "1", "b": "1", "both": "a", "join.result": "complete", "join.answered": "a,b", "join.conflicts": "attributes.both,severity_number",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if e.GetSubject() != "sub" || e.GetSeverityNumber() != 17 {
		t.Errorf("subject %q severity %d, want what b added and what a said", e.GetSubject(), e.GetSeverityNumber())
	}
}

// TestJoinOfJoins: how the barrier of a join before this one ended is not how this one did, and is no conflict.
func TestJoinOfJoins(t *testing.T) {
	in, _ := start(t, nil)
	answer := func(n int, silent, conflicts string) string {
		return fmt.Sprintf(`{"id":"x","source":"s","type":"t","attributes":{"n":%d,"join.result":%q,"join.answered":"c","join.silent":%q,"join.conflicts":%q,"join.c.ms":7}}`, n, "so "+silent, silent, conflicts)
	}
	steps := in.Run([]replay.Message{
		said{0, 1, 1, 1, []string{answer(1, "d", "body")}}.message(), said{1, 2, 1, 1, []string{answer(1, "e", "type")}}.message(),
	})
	got := attributes(steps[1].Produced[0].Event)
	for _, key := range []string{"join.a.ms", "join.b.ms"} {
		delete(got, key)
	}
	if diff := cmp.Diff(map[string]string{"n": "1", "join.result": "complete", "join.answered": "a,b", "join.c.ms": "7"}, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

// TestCollect: the answers are a list of CloudEvents, in the order of the branches.
func TestCollect(t *testing.T) {
	in, _ := start(t, func(j *config.Join) { j.Merge = config.JoinCollect })
	steps := in.Run([]replay.Message{
		said{1, 1, 1, 1, []string{`{"id":"x","source":"s","type":"of.b"}`}}.message(), said{0, 2, 1, 1, []string{`{"id":"x","source":"s","type":"of.a"}`}}.message(),
	})
	e := steps[1].Produced[0].Event
	var list []struct{ ID, Type string }
	if err := json.Unmarshal(e.GetData(), &list); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]struct{ ID, Type string }{{"x", "of.a"}, {"x", "of.b"}}, list); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if e.GetDataContentType() != "application/cloudevents-batch+json" || e.GetType() != "of.a" {
		t.Errorf("%s of type %s", e.GetDataContentType(), e.GetType())
	}
}

// TestFinal: when the input is drained for good, nothing is held any more.
func TestFinal(t *testing.T) {
	in, _ := start(t, nil)
	in.Run([]replay.Message{said{0, 1, 1, 1, []string{"x"}}.message()})
	b := &stage.Batch{Now: second(2)}
	b.Reset(1)
	if err := in.Stage.(stage.Flusher).Flush(t.Context(), b.Now, true, b); err != nil {
		t.Fatal(err)
	}
	if len(b.Produced()) != 1 {
		t.Errorf("%d results, want the one that waited", len(b.Produced()))
	}
}

// TestEventsOfNoBarrier are dead letters.
func TestEventsOfNoBarrier(t *testing.T) {
	in, _ := start(t, nil)
	steps := in.Run([]replay.Message{said{0, 1, 1, 1, []string{`{"source":"s","type":"t"}`}}.message()})
	if text := strings.Join(steps[0].Text, "\n"); !strings.Contains(text, "missing_key") {
		t.Errorf("%s, want a dead letter", text)
	}
}

// TestSettings: what is wrong is named.
func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.StageConfig)
		want   string
	}{
		"nothing":             {func(c *config.StageConfig) { c.Join = nil }, "join is missing"},
		"one input":           {func(c *config.StageConfig) { c.Inputs, c.Join.Expect = c.Inputs[:1], c.Join.Expect[:1] }, "inputs"},
		"no such one":         {func(c *config.StageConfig) { c.Join.Expect[1] = "c/out" }, `join.expect[1]: "c/out"`},
		"none":                {func(c *config.StageConfig) { c.Join.Expect = nil }, "join.expect"},
		"no deadline":         {func(c *config.StageConfig) { c.Join.Deadline = 0 }, "join.deadline"},
		"no timeout":          {func(c *config.StageConfig) { c.Join.OnTimeout = "Never" }, "join.onTimeout"},
		"no merge":            {func(c *config.StageConfig) { c.Join.Merge = "" }, "join.merge"},
		"no room":             {func(c *config.StageConfig) { c.Join.MaxPending = 0 }, "join.maxPending"},
		"pairs without a key": {func(c *config.StageConfig) { pairs(c.Join); c.Join.Key = "" }, "join.key"},
		"pairs of a mistake":  {func(c *config.StageConfig) { pairs(c.Join); c.Join.Pairs.Second = "event." }, "join.pairs.second"},
		"a wrong key":         {func(c *config.StageConfig) { c.Join.Key = "event." }, "join.key"},
		"no text as a":        {func(c *config.StageConfig) { c.Join.Key = "event.severity" }, "join.key"},
	} {
		t.Run(name, func(t *testing.T) {
			config := configOf(nil)
			c.change(&config)
			_, err := NewFactory().New(stage.Settings{Config: &config, Metrics: prometheus.NewRegistry()})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
}

// TestHeldBack: a join is complete up to where its oldest answer came behind, so that a join behind it does not take it for silent.
func TestHeldBack(t *testing.T) {
	in, _ := start(t, nil)
	complete := func(branch int, until float64) time.Time {
		t.Helper()
		b := &stage.Batch{Now: second(2)}
		b.Reset(1)
		at, err := in.Stage.(stage.Watermarked).Watermark(t.Context(), branch, second(until), b)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	if got := complete(0, 1); !got.IsZero() {
		t.Errorf("it holds nothing, and says %s", got)
	}
	in.Run([]replay.Message{said{0, 2, 5, 5, []string{"x"}}.message(), said{1, 2, 9, 3, []string{"y"}}.message()})
	if got := complete(0, 6); !got.Equal(time.Unix(0, 0)) { // y came on a branch that had said nothing yet
		t.Errorf("it says %s", got)
	}
	in.Run([]replay.Message{said{0, 2, 7, 7, []string{"y"}}.message()})
	if got := complete(0, 7); !got.Equal(second(1)) {
		t.Errorf("x came behind %s, and it says %s", second(1), got)
	}
	if got := complete(1, 9); !got.IsZero() {
		t.Errorf("all is complete, and it says %s", got)
	}
}
