package view

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/replays"
	"millrace.dev/millrace/controllers/view/internal/store"
	"millrace.dev/millrace/workers/cel"
)

// defaultLetters is how many dead letters a page has.
const defaultLetters = 100

// DeadLetters lists dead letters, the newest first. Of a stream with more than 256 MiB it reads and counts the newest ones, and sets Partial.
func (v *View) DeadLetters(ctx context.Context, of Name, o LetterOptions) (*Letters, error) {
	if o.Limit < 0 {
		return nil, fmt.Errorf("limit is %d: %w: want 0 (%d) or more", o.Limit, ErrInvalid, defaultLetters)
	}
	limit := cmp.Or(o.Limit, defaultLetters)
	page := &Letters{Letters: []Letter{}, Groups: []LetterGroup{}}
	groups := map[[2]string]*LetterGroup{}
	err := v.letters(ctx, of, o, func(letter *Letter) error {
		group(groups, letter)
		switch {
		case o.Before > 0 && letter.Sequence >= o.Before:
		case len(page.Letters) < limit:
			letter.Header, letter.Body = nil, nil
			page.Letters = append(page.Letters, *letter)
		default:
			page.More = true
		}
		return nil
	})
	if errors.Is(err, errPartial) {
		page.Partial, err = true, nil
	}
	for _, key := range slices.SortedFunc(maps.Keys(groups), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(groups[b].Count, groups[a].Count), slices.Compare(a[:], b[:]))
	}) {
		page.Groups = append(page.Groups, *groups[key])
	}
	return page, err
}

func group(groups map[[2]string]*LetterGroup, letter *Letter) {
	key := [2]string{letter.Stage, letter.Reason}
	g := groups[key]
	if g == nil {
		g = &LetterGroup{Stage: letter.Stage, Reason: letter.Reason, Last: letter.Stored}
		groups[key] = g
	}
	g.Count++
	if !letter.Replayed.IsZero() {
		g.Replayed++
	}
	g.First = letter.Stored // the newest come first
}

// errPartial says that there are more dead letters than one question reads.
var errPartial = errors.New("only the newest dead letters were read")

// letters yields the dead letters that options choose, whole, the newest first.
func (v *View) letters(ctx context.Context, of Name, o LetterOptions, yield func(*Letter) error) error {
	l, c, err := v.open(ctx, of)
	if err != nil {
		return err
	}
	pick, err := v.Picker(o)
	if err != nil {
		return err
	}
	marks, err := replays.Read(ctx, c, l.Leases.Bucket, l.DeadLetters)
	if err != nil {
		return err
	}
	read, partial := 0, false
	err = store.Stream{Client: c, Name: l.DeadLetters}.Backward(ctx, store.Range{Since: o.Since, Until: o.Until}, func(m *store.Message) error {
		if read += len(m.Data); read > scanBytes {
			partial = true
			return store.ErrStop
		}
		if !pick.chosen(m) {
			return nil
		}
		letter := pick.letter(m)
		letter.Replayed = marks.At(m.Sequence)
		return yield(letter)
	})
	if err == nil && partial {
		err = errPartial
	}
	return notFound(err)
}

// DeadLetter is one of them, by the sequence in its stream.
func (v *View) DeadLetter(ctx context.Context, of Name, sequence uint64) (*Letter, error) {
	l, c, err := v.open(ctx, of)
	if err != nil {
		return nil, err
	}
	m, err := store.Stream{Client: c, Name: l.DeadLetters}.Get(ctx, sequence)
	if err != nil {
		return nil, notFound(err)
	}
	if m == nil {
		return nil, fmt.Errorf("dead letter %d of pipeline %s: %w", sequence, of, ErrNotFound)
	}
	marks, err := replays.Read(ctx, c, l.Leases.Bucket, l.DeadLetters)
	if err != nil {
		return nil, err
	}
	letter := (&Picker{decoder: newDecoder()}).letter(m)
	letter.Replayed = marks.At(sequence)
	return letter, nil
}

// Picker chooses dead letters by options, message by message. One goroutine uses it.
type Picker struct {
	options LetterOptions
	filter  *cel.Condition
	decoder *decoder
}

// Picker makes one.
func (v *View) Picker(o LetterOptions) (*Picker, error) {
	filter, err := v.condition(o.Filter)
	return &Picker{options: o, filter: filter, decoder: newDecoder()}, err
}

// Chosen says whether the options choose a dead letter.
func (p *Picker) Chosen(m *store.Message) bool {
	return (p.options.Since.IsZero() || !m.Stored.Before(p.options.Since)) && (p.options.Until.IsZero() || !m.Stored.After(p.options.Until)) && p.chosen(m)
}

// chosen says whether the options choose it, but for its time and sequence.
func (p *Picker) chosen(m *store.Message) bool {
	if p.options.Stage != "" && m.Get(jetstream.HeaderStage) != p.options.Stage || p.options.Reason != "" && m.Get(jetstream.HeaderReason) != p.options.Reason {
		return false
	}
	if p.filter == nil {
		return true
	}
	holds := false
	_ = p.decoder.read(&PortLayout{}, m, func(f found) error {
		if f.event != nil {
			yes, err := p.filter.Holds(f.event)
			holds = holds || err == nil && yes
		}
		return nil
	})
	return holds
}

// letter reads a dead letter. It shares the memory of the message.
func (p *Picker) letter(m *store.Message) *Letter {
	l := &Letter{
		Sequence: m.Sequence, Stored: m.Stored, Stage: m.Get(jetstream.HeaderStage), Reason: m.Get(jetstream.HeaderReason), Error: m.Get(jetstream.HeaderError),
		Attempts: number(m, jetstream.HeaderAttempts), Truncated: m.Get(jetstream.HeaderTruncated) != "", Size: max(number(m, jetstream.HeaderSize), len(m.Data)),
		From: Place{Stream: m.Get(jetstream.HeaderStream), Subject: m.Get(jetstream.HeaderSubject), Index: number(m, jetstream.HeaderIndex)}, Header: m.Sent(), Body: m.Data,
	}
	l.From.Sequence, _ = strconv.ParseUint(m.Get(jetstream.HeaderSequence), 10, 64)
	l.From.Stored, _ = time.Parse(time.RFC3339Nano, m.Get(jetstream.HeaderTime))
	_ = p.decoder.read(&PortLayout{}, m, func(f found) error {
		if f.event != nil && l.EventID == "" {
			l.EventID = strings.Clone(f.event.ID)
		}
		return nil
	})
	return l
}

// number reads a number in a header; 0 when there is none.
func number(m *store.Message, header string) int {
	n, err := strconv.Atoi(m.Get(header))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
