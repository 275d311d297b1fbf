package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/workers/event/decode"
)

// tally is what the ledger found in one run.
type tally struct {
	// in is how many events were sent; of them, duplicates and what is to be dead-lettered.
	in, duplicates, dead    int
	lost, doubled, disorder int
	// mixed is how many events are in part by one edition of the settings and in part by another one, where that may be.
	mixed int
	// derived is how many events that correlate and analyze made were compared.
	derived int
	// refused is how often the publisher was told that the stream is full, repeated how often
	// it had to try again for another reason.
	refused, repeated int
	// pause is how long a partition of ENRICHED_EVENTS stood still at most.
	pause, took time.Duration
	began       time.Time
	problems    []string
	more        int // problems that were left out
}

// problem notes what is wrong, in words; the first ones of a run are enough.
func (t *tally) problem(format string, args ...any) {
	if len(t.problems) >= 20 {
		t.more++
		return
	}
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

// dedupeWindow is that of the sample.
const dedupeWindow = 2 * time.Minute

// ledger knows what was sent, and reads what became of it.
type ledger struct {
	rig    *rig.Rig
	oracle *oracle
	next   map[string]uint64 // stream: the first sequence that was not read yet
	last   map[string]int64  // subject: when its last message was stored

	// Of a run:
	sent   map[string]*message
	raw    map[string]int // message id: how often it is stored
	events map[string]*entry
	dead   map[letter]int // 0 = expected, 1 = found
	// judged are valid events that may be dead letters; nil when none may.
	judged   map[letter]*entry
	position int
	tally    *tally
	flow     [2]time.Time // first and last message at the ingress
}

// entry is one valid event.
type entry struct {
	position int // in the order of RAW
	stored   time.Time
	found    [2]int // in VALIDATED, ENRICHED
	// lines are how often it was sent, and letters how often it is a dead letter by rules that changed.
	lines, letters int
}

// letter is where a dead letter comes from.
type letter struct {
	sequence uint64
	index    int
}

func newLedger(r *rig.Rig) (*ledger, error) {
	o, err := newOracle(r)
	if err != nil {
		return nil, err
	}
	return &ledger{rig: r, oracle: o, next: map[string]uint64{}, last: map[string]int64{}}, nil
}

// begin opens the ledger for one run.
func (l *ledger) begin(in *input, judged bool) {
	l.sent, l.raw = map[string]*message{}, map[string]int{}
	l.events, l.dead, l.position = map[string]*entry{}, map[letter]int{}, 0
	l.tally = &tally{in: in.events, began: time.Now()}
	l.flow = [2]time.Time{}
	clear(l.last)
	if l.judged = nil; judged {
		l.judged = map[letter]*entry{}
	}
	for _, m := range in.messages {
		l.sent[m.id] = m
	}
}

// close reads all streams and compares. It is called when all is drained.
func (l *ledger) close(ctx context.Context, confirmed map[string]bool) error {
	for _, read := range []struct {
		stream string
		take   func(jetstream.Msg, *jetstream.MsgMetadata) error
	}{
		{"RAW_EVENTS", l.takeRaw},
		{"VALIDATED_EVENTS", l.takeFrame(ctx, 0)},
		{"ENRICHED_EVENTS", l.takeFrame(ctx, 1)},
		{"DEAD_LETTERS", l.takeDead},
		{"CORRELATED_EVENTS", l.oracle.found},
		{"ANALYTICS_RESULTS", l.oracle.found},
		{"INSIGHTS", func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			return l.oracle.foundInsight(m, meta, l.tally)
		}},
	} {
		if err := l.read(ctx, read.stream, read.take); err != nil {
			return fmt.Errorf("read %s: %w", read.stream, err)
		}
	}
	l.balance(confirmed)
	return l.oracle.compare(ctx, l.tally)
}

// read calls take with what is stored in a stream and was not read yet.
func (l *ledger) read(ctx context.Context, stream string, take func(jetstream.Msg, *jetstream.MsgMetadata) error) (err error) {
	l.next[stream], err = readFrom(ctx, l.rig.JetStream(), stream, l.next[stream], take)
	return err
}

// readFrom calls take with what a stream stores from a sequence on, and returns the first sequence that it did not read.
func readFrom(ctx context.Context, js jetstream.JetStream, stream string, next uint64, take func(jetstream.Msg, *jetstream.MsgMetadata) error) (uint64, error) {
	cons, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(next, 1),
	})
	if err != nil {
		return next, err
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return next, err
	}
	for left := int(info.NumPending); left > 0; {
		batch, err := cons.Fetch(min(500, left), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			return next, err
		}
		got := 0
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return next, err
			}
			got++
			next = meta.Sequence.Stream + 1
			if err := take(m, meta); err != nil {
				return next, err
			}
		}
		if got == 0 {
			return next, errors.Join(fmt.Errorf("%d messages behind %d did not come", left, next), batch.Error())
		}
		left -= got
	}
	return next, nil
}

// takeRaw learns from the ingress what is expected.
func (l *ledger) takeRaw(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	id := m.Headers().Get(nats.MsgIdHdr)
	sent := l.sent[id]
	if sent == nil {
		return fmt.Errorf("message %d has the id %q: nobody sent that", meta.Sequence.Stream, id)
	}
	if l.flow[0].IsZero() {
		l.flow[0] = meta.Timestamp
	}
	l.flow[1] = meta.Timestamp
	if l.raw[id]++; l.raw[id] > 1 {
		l.tally.doubled += len(sent.lines)
		l.tally.problem("RAW_EVENTS holds message %s more than once, again at %d", id, meta.Sequence.Stream)
	}
	for i := range sent.lines {
		if sent.lines[i].class != valid {
			l.dead[letter{meta.Sequence.Stream, i}] = 0
			l.tally.dead++
			continue
		}
		l.position++
		before := l.events[sent.lines[i].key]
		if before == nil {
			before = &entry{position: l.position, stored: meta.Timestamp}
			l.events[sent.lines[i].key] = before
		}
		if l.judged != nil {
			l.judged[letter{meta.Sequence.Stream, i}] = before
		}
		if before.lines++; before.lines == 1 {
			continue
		}
		l.tally.duplicates++
		if age := meta.Timestamp.Sub(before.stored); age > dedupeWindow {
			return fmt.Errorf("the run is too slow: a duplicate came %s after the event, which is no duplicate any more", age)
		}
	}
	return nil
}

// takeFrame counts the events of a message of VALIDATED or ENRICHED.
func (l *ledger) takeFrame(ctx context.Context, stage int) func(jetstream.Msg, *jetstream.MsgMetadata) error {
	names := [...]string{"VALIDATED_EVENTS", "ENRICHED_EVENTS"}
	decoder := decode.New(decode.Limits{})
	last := map[string]int{}
	return func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		decoder.Reset()
		events, bad := decoder.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano()})
		if len(bad) > 0 {
			return fmt.Errorf("message %d holds what is no event: %w", meta.Sequence.Stream, bad[0].Err)
		}
		partition := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
		for i := range events {
			key := events[i].ID + " " + events[i].Source
			e := l.events[key]
			switch {
			case e == nil:
				l.tally.doubled++
				l.tally.problem("%s holds event %s at %d: that was not to be passed on", names[stage], key, meta.Sequence.Stream)
				continue
			case l.judged != nil && e.lines > 1: // what an id meant depends on the rules of its time
			case e.found[stage] > 0:
				l.tally.doubled++
				l.tally.problem("%s holds event %s once more at %d, written by %s", names[stage], key, meta.Sequence.Stream, m.Headers().Get("Millrace-Owner"))
			case e.position < last[partition]:
				l.tally.disorder++
				l.tally.problem("%s: event %s at %d stands behind one that came later", names[stage], key, meta.Sequence.Stream)
			}
			e.found[stage]++
			last[partition] = max(last[partition], e.position)
			if want := strconv.Itoa(events[i].PartitionOf(l.rig.Plan().Partitions)); want != partition {
				l.tally.disorder++
				l.tally.problem("%s: event %s is in partition %s instead of %s", names[stage], key, partition, want)
			}
		}
		if stage == 1 {
			l.paused(m.Subject(), meta.Timestamp)
			return l.oracle.take(ctx, m.Subject(), m.Headers(), m.Data(), meta)
		}
		return nil
	}
}

// paused measures how long a partition stood still while events came in.
func (l *ledger) paused(subject string, at time.Time) {
	before, ok := l.last[subject]
	l.last[subject] = at.UnixNano()
	if !ok {
		before = l.flow[0].UnixNano()
	}
	if at.Before(l.flow[0]) {
		return
	}
	l.tally.pause = max(l.tally.pause, time.Duration(at.UnixNano()-before))
}

func (l *ledger) takeDead(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	h := m.Headers()
	sequence, err1 := strconv.ParseUint(h.Get("Millrace-Sequence"), 10, 64)
	index, err2 := strconv.Atoi(h.Get("Millrace-Index"))
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("dead letter %d: %w", meta.Sequence.Stream, err)
	}
	at := letter{sequence, index}
	n, expected := l.dead[at]
	if e := l.judged[at]; e != nil && h.Get("Millrace-Reason") == "rule_failed" {
		e.letters++
		expected = true
	}
	switch {
	case h.Get("Millrace-Stage") != "validate" || h.Get("Millrace-Stream") != "RAW_EVENTS" || !expected:
		l.tally.doubled++
		l.tally.problem("DEAD_LETTERS %d: stage %s, %s %d.%d, %s: %s", meta.Sequence.Stream, h.Get("Millrace-Stage"), h.Get("Millrace-Stream"), sequence, index, h.Get("Millrace-Reason"), h.Get("Millrace-Error"))
	case n > 0:
		l.tally.doubled++
		l.tally.problem("DEAD_LETTERS %d: RAW_EVENTS %d.%d once more, written by %s", meta.Sequence.Stream, sequence, index, h.Get("Millrace-Owner"))
	}
	if expected {
		l.dead[at]++
	}
	return nil
}

// balance finds what is lost.
func (l *ledger) balance(confirmed map[string]bool) {
	for _, id := range slices.Sorted(maps.Keys(l.sent)) {
		if confirmed[id] && l.raw[id] == 0 {
			l.tally.lost += len(l.sent[id].lines)
			l.tally.problem("message %s was confirmed and is not stored", id)
		}
	}
	for key, e := range l.events {
		if e.letters > 0 {
			l.tally.dead += e.letters
			switch {
			case e.found[0] == 0:
				continue // it is a dead letter, and nothing else
			case e.lines == 1: // of what was sent twice, each may be judged by other rules
				l.tally.doubled++
				l.tally.problem("event %s, position %d, is in VALIDATED_EVENTS and in DEAD_LETTERS", key, e.position)
			}
		}
		for stage, stream := range [...]string{"VALIDATED_EVENTS", "ENRICHED_EVENTS"} {
			if e.found[stage] == 0 {
				l.tally.lost++
				l.tally.problem("%s lacks event %s, position %d", stream, key, e.position)
				break
			}
		}
	}
	for at, n := range l.dead {
		if n == 0 {
			l.tally.lost++
			l.tally.problem("DEAD_LETTERS lacks RAW_EVENTS %d.%d", at.sequence, at.index)
		}
	}
}
