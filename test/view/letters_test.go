package view

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/view"
)

// dying publishes events that die, each in a step of its own.
func (p *pipeline) dying(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		p.publish(t, order(fmt.Sprint("d", i), "order.refused"))
	}
}

func (p *pipeline) editor(t *testing.T) deadletter.Editor {
	t.Helper()
	e, err := deadletter.New(p.source, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLetters(t *testing.T) {
	p := start(t)
	p.dying(t, 5)
	p.publish(t, "<garbage>")
	page, err := p.view.DeadLetters(t.Context(), shop, view.LetterOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Letters) != 2 || page.Letters[0].Sequence != 6 || !page.More || len(page.Groups) != 2 || page.Groups[0].Count != 5 || page.Groups[0].Reason != "rule_failed" {
		t.Errorf("got %+v", page)
	}
	page, err = p.view.DeadLetters(t.Context(), shop, view.LetterOptions{Limit: 3, Before: page.Letters[1].Sequence})
	if err != nil || len(page.Letters) != 3 || page.Letters[0].Sequence != 4 || !page.More {
		t.Errorf("the second page: %+v, %v", page, err)
	}
	page, err = p.view.DeadLetters(t.Context(), shop, view.LetterOptions{Filter: "event.id == 'd3'"})
	if err != nil || len(page.Letters) != 1 || page.Letters[0].EventID != "d3" || page.Letters[0].Body != nil {
		t.Errorf("by filter: %+v, %v", page, err)
	}
	letter, err := p.view.DeadLetter(t.Context(), shop, page.Letters[0].Sequence)
	if err != nil || string(letter.Body) != order("d3", "order.refused") || letter.From.Sequence != 4 || letter.From.Subject != "events.raw.test" || letter.Stage != "check" {
		t.Errorf("got %+v, %v", letter, err)
	}
	if _, err := p.view.DeadLetter(t.Context(), shop, 99); !errors.Is(err, view.ErrNotFound) {
		t.Errorf("got %v, want %v", err, view.ErrNotFound)
	}
}

// TestReplays: chosen ones once, then not again unless asked; a job that has ended stays so; one that is cancelled stops.
func TestReplays(t *testing.T) {
	p := start(t)
	p.dying(t, 6)
	e := p.editor(t)
	run := func(o deadletter.ReplayOptions) *deadletter.Job {
		t.Helper()
		j, err := e.Start(t.Context(), shop, o)
		if err != nil {
			t.Fatal(err)
		}
		id := j.ID
		if j, err = e.Run(t.Context(), shop, id, nil); err != nil || j.State != deadletter.StateDone {
			t.Fatalf("%+v, %v", j, err)
		}
		if _, err := e.Run(t.Context(), shop, id, nil); !errors.Is(err, deadletter.ErrEnded) {
			t.Errorf("a second run: %v, want %v", err, deadletter.ErrEnded)
		}
		if err := p.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		return j
	}
	until := view.LetterOptions{Until: time.Now()}
	if j := run(deadletter.ReplayOptions{Sequences: []uint64{2, 5}}); j.Published != 2 {
		t.Errorf("two by name: %+v", j)
	}
	if j := run(deadletter.ReplayOptions{LetterOptions: until}); j.Published != 4 || j.Before != 2 {
		t.Errorf("the rest: %+v", j)
	}
	if j := run(deadletter.ReplayOptions{LetterOptions: until}); j.Published != 0 || j.Before != 6 {
		t.Errorf("nothing is left: %+v", j)
	}
	if j := run(deadletter.ReplayOptions{LetterOptions: until, Again: true}); j.Published != 6 {
		t.Errorf("again: %+v", j)
	}
	page, err := p.view.DeadLetters(t.Context(), shop, until)
	if err != nil || page.Groups[0].Replayed != 6 {
		t.Errorf("marks: %+v, %v", page.Groups, err)
	}

	j, err := e.Start(t.Context(), shop, deadletter.ReplayOptions{LetterOptions: until, Again: true, Rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	begun := make(chan struct{}, 100)
	go func() {
		_, err := e.Run(t.Context(), shop, j.ID, func(*deadletter.Job) { begun <- struct{}{} })
		ended <- err
	}()
	<-begun
	if _, err := e.Cancel(t.Context(), shop, j.ID); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	jobs, err := e.Jobs(t.Context(), shop)
	if err != nil || len(jobs) != 5 || jobs[0].State != deadletter.StateCancelled || jobs[0].Published >= 6 {
		t.Errorf("got %+v, %v: want the newest of 5 jobs cancelled", jobs, err)
	}
	for _, o := range []deadletter.ReplayOptions{
		{To: "elsewhere.x"},
		{To: "events.raw.>"},
		{Rate: -1},
		{Rate: 0.5},
		{Rate: 1e-12},
		{Rate: math.NaN()},
		{Rate: math.Inf(1)},
		{LetterOptions: view.LetterOptions{Filter: "event."}},
	} {
		if _, err := e.Start(t.Context(), shop, o); !errors.Is(err, view.ErrInvalid) {
			t.Errorf("%+v: got %v, want %v", o, err, view.ErrInvalid)
		}
	}
}

// TestResumeWithoutTheIngress: when the ingress has lost what a process may have published before it ended, its job is not resumed, and the next one takes the
// dead letters of its batch for published.
func TestResumeWithoutTheIngress(t *testing.T) {
	p := start(t)
	p.dying(t, 3)
	ended, end := context.WithCancel(t.Context())
	j, err := p.editor(t).Start(t.Context(), shop, deadletter.ReplayOptions{Rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	// It ends when the first batch, of one dead letter, is written down.
	if _, err := p.editor(t).Run(ended, shop, j.ID, func(*deadletter.Job) { end() }); !errors.Is(err, context.Canceled) {
		t.Fatalf("the first process: %v", err)
	}
	p.publish(t, order("more", "order.placed"))
	nc, err := nats.Connect("", nats.InProcessServer(p))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ingress, err := js.Stream(t.Context(), p.plan.Ingress.Name)
	if err == nil {
		err = ingress.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	// Later, when nobody works on it any more.
	e, err := deadletter.New(p.source, func() time.Time { return time.Now().Add(time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), shop, j.ID, nil); err == nil || !strings.Contains(err.Error(), "no longer holds what was published") {
		t.Errorf("resumed: %v", err)
	}
	if _, err := e.Cancel(t.Context(), shop, j.ID); err != nil {
		t.Fatal(err)
	}
	if j, err = e.Start(t.Context(), shop, deadletter.ReplayOptions{}); err != nil {
		t.Fatal(err)
	}
	later, err := deadletter.New(p.source, func() time.Time { return time.Now().Add(2 * time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	if j, err = later.Run(t.Context(), shop, j.ID, nil); err != nil || j.Published != 2 || j.Before != 1 {
		t.Errorf("got %+v, %v: want 2 of 3 published", j, err)
	}
}

// TestPurgeKeepsPlaces: what is the last step of a lane stays, and goes when there is a newer one.
func TestPurgeKeepsPlaces(t *testing.T) {
	p := start(t)
	p.dying(t, 3)
	e := p.editor(t)
	ctx := context.WithoutCancel(t.Context())
	if got, err := e.Purge(ctx, shop, deadletter.PurgeOptions{DryRun: true}); err != nil || got.Removed != 2 || got.Kept != 1 {
		t.Errorf("dry run: %+v, %v", got, err)
	}
	if got, err := e.Purge(ctx, shop, deadletter.PurgeOptions{Sequences: []uint64{3, 1}}); err != nil || got.Removed != 1 || got.Kept != 1 {
		t.Errorf("by name: %+v, %v", got, err)
	}
	dry, err := e.Purge(ctx, shop, deadletter.PurgeOptions{DryRun: true})
	if err != nil || *dry != (deadletter.Purged{Removed: 1, Kept: 1, Last: 3}) {
		t.Errorf("dry run of what is left: %+v, %v", dry, err)
	}
	p.publish(t, order("later", "order.refused"))
	p.publish(t, order("last", "order.refused")) // a step of its own
	// Piece by piece: what was counted, and what died since then is not touched, whether a lane needs it or not.
	one := deadletter.PurgeOptions{LetterOptions: view.LetterOptions{Before: dry.Last + 1, Limit: 1}}
	got, err := e.Purge(ctx, shop, one)
	if err != nil || *got != (deadletter.Purged{Removed: 1, Last: 2, More: true}) {
		t.Errorf("the first piece: %+v, %v", got, err)
	}
	one.After = got.Last
	if got, err := e.Purge(ctx, shop, one); err != nil || *got != (deadletter.Purged{Removed: 1, Last: 3}) {
		t.Errorf("the second piece: %+v, %v", got, err)
	}
	one.After = math.MaxUint64
	if got, err := e.Purge(ctx, shop, one); err != nil || *got != (deadletter.Purged{}) {
		t.Errorf("behind the end: %+v, %v", got, err)
	}
	if got, err := e.Purge(ctx, shop, deadletter.PurgeOptions{}); err != nil || got.Removed != 1 || got.Kept != 1 {
		t.Errorf("all: %+v, %v", got, err)
	}
	page, err := p.view.DeadLetters(ctx, shop, view.LetterOptions{})
	if err != nil || len(page.Letters) != 1 || page.Letters[0].EventID != "last" {
		t.Errorf("left: %+v, %v", page, err)
	}
}
