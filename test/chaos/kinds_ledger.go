package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// segment are events that were published one after another, and the editions by which a stage may have handled them, by stage.
type segment struct {
	from, to int
	editions map[string][]int
	// cut says that workers were killed while settings changed: what is stored of a step stays, and the rest of it is by other settings
	// (docs/delivery.md, "Rules that change").
	cut bool
}

// kindsLedger is what is stored behind every stage of the kinds, read from end to end.
type kindsLedger struct {
	books []*book
	// compared is what compare has read and told.
	compared comparison
	decoder  *decode.Decoder
}

// book is what is stored behind one stage.
type book struct {
	*column
	// seen are the marks of each event, in the order in which they are stored.
	seen map[int][]string
	// last is the last event of each port and key; late are events that stand behind a later one of their key.
	last map[string]int
	late []int
	// strange is what should not be there at all.
	strange []string
}

// comparison holds what compare reads against what it reports.
type comparison struct {
	stored  map[string][]time.Time // by variant: when each event was stored, in order
	reports []verdict
}

// verdict is one report of compare: how many events each variant had until then.
type verdict struct {
	until  time.Time
	events map[string]int
}

func (l *kindsLedger) book(stage string) *book {
	for _, b := range l.books {
		if b.stage == stage {
			return b
		}
	}
	return nil
}

// readKinds reads everything that is stored.
func (k *kinds) readKinds(ctx context.Context) (*kindsLedger, error) {
	l := &kindsLedger{decoder: decode.New(decode.Limits{Hints: true}), compared: comparison{stored: map[string][]time.Time{}}}
	for _, c := range k.columns {
		l.books = append(l.books, &book{column: c, seen: map[int][]string{}, last: map[string]int{}})
	}
	for _, b := range l.books {
		outputs := k.Stage(b.stage).Config.Outputs
		if stream := streamOf(outputs); stream != "" {
			if _, err := readFrom(ctx, k.JetStream(), stream, 0, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
				return l.take(b, portOf(outputs, stream, m.Subject()), m, meta)
			}); err != nil {
				return nil, fmt.Errorf("read %s: %w", stream, err)
			}
		}
	}
	dead := k.Stage("first").Config.Outputs[config.PortDeadLetter].Stream
	if _, err := readFrom(ctx, k.JetStream(), dead, 0, l.takeLetter); err != nil {
		return nil, fmt.Errorf("read %s: %w", dead, err)
	}
	return l, errors.Join(l.readFiles(k.filed), l.readArchive(ctx, k))
}

// streamOf is the stream of the stage's own; empty = it has none.
func streamOf(outputs map[string]config.Output) string {
	for _, out := range outputs {
		if out.Format == config.FormatFrame {
			return out.Stream
		}
	}
	return ""
}

// portOf is the port that a subject belongs to: of those whose subject it begins with, the one with the longest.
func portOf(outputs map[string]config.Output, stream, subject string) (port string) {
	most := 0
	for name, out := range outputs {
		if out.Stream == stream && strings.HasPrefix(subject, out.Subject+".") && len(out.Subject) > most {
			port, most = name, len(out.Subject)
		}
	}
	return port
}

// take notes the events of one message.
func (l *kindsLedger) take(b *book, port string, m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	if port == config.PortOverflow { // they come out later
		return nil
	}
	events, err := l.decode(m.Headers(), m.Data(), meta.Sequence.Stream)
	if err != nil {
		return fmt.Errorf("message %d: %w", meta.Sequence.Stream, err)
	}
	for i := range events {
		e := &events[i]
		switch {
		case b.kind == config.KindCompare:
			l.compared.report(e)
		case strings.HasPrefix(e.Type, "millrace."): // a group, which correlate has made
		default:
			text := ""
			if b.mark != nil {
				text = b.mark(e)
			}
			b.note(port, text, e)
			if b.kind == config.KindExperiment {
				l.compared.stored["tried/"+port] = append(l.compared.stored["tried/"+port], meta.Timestamp)
			}
		}
	}
	return nil
}

func (l *kindsLedger) takeLetter(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	stage, reason := m.Headers().Get("Millrace-Stage"), m.Headers().Get("Millrace-Reason")
	b := l.book(stage)
	if b == nil {
		return fmt.Errorf("dead letter %d is of stage %s, reason %s: %s", meta.Sequence.Stream, stage, reason, m.Headers().Get("Millrace-Error"))
	}
	events, err := l.decode(m.Headers(), m.Data(), meta.Sequence.Stream)
	if err != nil {
		return fmt.Errorf("dead letter %d: %w", meta.Sequence.Stream, err)
	}
	for i := range events {
		b.note(config.PortDeadLetter, reason, &events[i])
	}
	return nil
}

func (l *kindsLedger) decode(h map[string][]string, data []byte, sequence uint64) ([]event.Event, error) {
	l.decoder.Reset()
	events, bad := l.decoder.Decode(nil, decode.Message{Header: h, Data: data, Sequence: sequence})
	if len(bad) > 0 {
		return nil, bad[0].Err
	}
	return events, nil
}

// note notes that an event is stored on a port; text tells it from others there.
func (b *book) note(port, text string, e *event.Event) {
	id, piece, isPiece := strings.Cut(e.ID, "/")
	n, err := strconv.Atoi(id)
	if err != nil || keyOf(n) != e.Subject {
		b.strange = append(b.strange, fmt.Sprintf("event %q of %q", e.ID, e.Subject))
		return
	}
	mark := port
	if text != "" {
		mark += " " + text
	}
	if isPiece {
		mark += " /" + piece
	}
	b.seen[n] = append(b.seen[n], mark)
	lane := port + " " + keyOf(n)
	if n < b.last[lane] && !b.unordered {
		b.late = append(b.late, n)
	}
	b.last[lane] = max(n, b.last[lane])
}

// readFiles reads the files of a sink: of each lane those that are finished, and then the one that is not.
func (l *kindsLedger) readFiles(path string) error {
	all, err := filepath.Glob(strings.TrimSuffix(path, ".ndjson") + "*.ndjson")
	if err != nil {
		return err
	}
	// The file without a number is the newest: "-" is before "." in the order of their names.
	slices.Sort(all)
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := l.takeKept("filed", text, nil); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// readArchive reads what a sink has stored on another server.
func (l *kindsLedger) readArchive(ctx context.Context, k *kinds) error {
	_, err := readFrom(ctx, k.archiveJS, "ARCHIVE", 0, func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
		return l.takeKept("sent", m.Data(), m)
	})
	return err
}

// takeKept notes events that a sink keeps, one on each line.
func (l *kindsLedger) takeKept(stage string, text []byte, m jetstream.Msg) error {
	b := l.book(stage)
	for line := range strings.Lines(string(text)) {
		events, err := l.decode(map[string][]string{event.HeaderContentType: {event.ContentTypeCloudEvent}}, []byte(line), 0)
		if err != nil {
			return fmt.Errorf("%w: %s", err, line)
		}
		subject := ""
		if m != nil {
			subject = m.Subject()
		}
		b.note("kept", subject, &events[0])
	}
	return nil
}

// balance compares what is stored of the events of a segment with what should be, and counts.
func (l *kindsLedger) balance(b *book, s *segment, t *tally) {
	t.in += s.to - s.from
	for n := s.from; n < s.to; n++ {
		l.balanceEvent(b, n, s, t)
	}
	for _, n := range b.late {
		if n >= s.from && n < s.to {
			t.disorder++
			t.problem("%s: event %d stands behind a later one of key %s", b.name, n, keyOf(n))
		}
	}
}

// balanceEvent compares the marks of an event with those of the edition that fits best. An event that is at one place by one edition, and at
// another one by another, is doubled, but where that was cut.
func (l *kindsLedger) balanceEvent(b *book, n int, s *segment, t *tally) {
	got, allowed := slices.Sorted(slices.Values(b.seen[n])), s.editions[b.stage]
	var best []string
	missing, extra := -1, 0
	for _, edition := range allowed {
		want := b.marks(l, n, edition)
		lacks, more := differ(want, got)
		if missing < 0 || lacks+more < missing+extra {
			best, missing, extra = want, lacks, more
		}
	}
	if missing+extra > 0 && s.cut && l.mixed(b, n, allowed, got) {
		t.mixed++
		return
	}
	if missing > 0 {
		t.lost++
	}
	if extra > 0 {
		t.doubled++
	}
	if missing+extra > 0 {
		t.problem("%s: event %d is at %q, and should be at %q (or at another edition's of %v)", b.name, n, got, best, allowed)
	}
}

// mixed says whether an event is at each place as one of the editions has it: once, and not missing where all of them have it.
func (l *kindsLedger) mixed(b *book, n int, allowed []int, got []string) bool {
	might, editions := map[string]bool{}, map[string]int{} // marks; and how many editions have a place
	for _, edition := range allowed {
		for _, mark := range b.marks(l, n, edition) {
			might[mark] = true
			editions[placeOf(mark)]++
		}
	}
	places := map[string]bool{}
	for _, mark := range got {
		if !might[mark] || places[placeOf(mark)] {
			return false
		}
		places[placeOf(mark)] = true
	}
	for place, n := range editions {
		if n == len(allowed) && !places[place] {
			return false
		}
	}
	return true
}

// placeOf is the port of a mark, and which piece of the event it is.
func placeOf(mark string) string {
	port, text, _ := strings.Cut(mark, " ")
	if at := strings.LastIndexByte(text, '/'); at >= 0 {
		return port + text[at:]
	}
	return port
}

// differ is how many marks of want are not in got, and how many of got are not in want.
func differ(want, got []string) (missing, extra int) {
	left := slices.Clone(got)
	for _, mark := range want {
		if i := slices.Index(left, mark); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			missing++
		}
	}
	return missing, len(left)
}

// report notes a report of compare.
func (c *comparison) report(e *event.Event) {
	r := verdict{until: time.Unix(0, e.Time), events: map[string]int{}}
	for _, variant := range []string{"tried/a", "tried/b"} {
		v, _ := e.Attribute(variant + ".events")
		n, _ := v.Int()
		r.events[variant] = int(n)
	}
	c.reports = append(c.reports, r)
}

// compareEvery is the interval of the manifest.
const compareEvery = 10 * time.Second

// covered says whether the last report is about all that is stored.
func (c *comparison) covered() bool {
	if len(c.reports) == 0 {
		return false
	}
	until := c.reports[len(c.reports)-1].until
	for _, at := range c.stored {
		if n := len(at); n > 0 && !at[n-1].Before(until) {
			return false
		}
	}
	return true
}

// before is how many events of a variant were stored before a time.
func (c *comparison) before(variant string, until time.Time) int {
	n, _ := slices.BinarySearchFunc(c.stored[variant], until, time.Time.Compare)
	return n
}

// balance compares each report with what was stored until then: each event counts once. A report is told once for each interval that had events.
// It looks at reports from the first one that is not before from. all says that the last one has to be about everything.
func (c *comparison) balance(from time.Time, all bool, t *tally) {
	told := map[time.Time]bool{}
	for _, r := range c.reports {
		if told[r.until] {
			t.doubled++
			t.problem("compare: a second report until %s", r.until.UTC())
		}
		told[r.until] = true
		if r.until.Before(from) {
			continue
		}
		for variant, got := range r.events {
			want := c.before(variant, r.until)
			t.in += want - c.before(variant, from)
			t.lost += max(0, want-got)
			t.doubled += max(0, got-want)
			if want != got {
				t.problem("compare: until %s variant %s had %d events, and the report says %d", r.until.UTC(), variant, want, got)
			}
		}
		from = r.until
	}
	var until time.Time
	if len(c.reports) > 0 {
		until = c.reports[len(c.reports)-1].until
	}
	for variant, at := range c.stored {
		for _, stored := range at {
			end := stored.Truncate(compareEvery).Add(compareEvery)
			if told[end] || !all && end.After(until) {
				continue
			}
			t.lost++
			t.problem("compare: an event of %s was stored at %s, and no report ends at %s", variant, stored.UTC(), end.UTC())
			break
		}
	}
}
