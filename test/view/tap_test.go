package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/view"
)

// tapped are the events that a tap gives before it ends.
func tapped(t *testing.T, p *pipeline, o view.TapOptions) (all []view.Stored) {
	t.Helper()
	err := p.view.Tap(t.Context(), shop, o, func(s *view.Stored) error {
		all = append(all, *s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTap(t *testing.T) {
	p := start(t)
	begin := time.Now().Add(-time.Minute)
	for i := range 8 {
		p.publish(t, order(fmt.Sprint("a", i), "order.placed"))
	}
	p.publish(t, order("r", "order.refused"), "<garbage>", "["+order("b0", "order.placed")+","+order("b1", "debug")+"]")
	for name, c := range map[string]struct {
		options view.TapOptions
		want    int
	}{
		"all of the ingress":    {view.TapOptions{}, 12},
		"the port out":          {view.TapOptions{Stage: "check"}, 10},
		"a port by name":        {view.TapOptions{Stage: "clean", Port: "out"}, 9},
		"dead letters":          {view.TapOptions{Stage: "check", Port: "dead-letter"}, 2},
		"a filter":              {view.TapOptions{Stage: "check", Filter: "event.id.startsWith('a') && event.id > 'a3'"}, 4},
		"a sample":              {view.TapOptions{Stage: "check", Sample: 5}, 2},
		"a limit":               {view.TapOptions{Stage: "check", Limit: 3}, 3},
		"until before all":      {view.TapOptions{Stage: "check", Until: begin}, 0},
		"a filter of garbage":   {view.TapOptions{Filter: "event.type == 'debug'"}, 1},
		"a key that is not set": {view.TapOptions{Filter: "event.attributes['nothing'] == 'x'"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.Since = begin
			all := tapped(t, p, c.options)
			if len(all) != c.want {
				t.Errorf("got %d events, want %d: %+v", len(all), c.want, all)
			}
			for _, s := range all {
				if (s.Event == nil) != (s.Raw != nil) || s.Sequence == 0 || s.Stream == "" || s.Place.Stored.IsZero() {
					t.Errorf("got %+v", s)
				}
				if s.Event != nil && !json.Valid(s.Event) {
					t.Errorf("event %s is no JSON", s.ID)
				}
			}
		})
	}
	for name, c := range map[string]struct {
		options view.TapOptions
		want    error
	}{
		"no such stage":     {view.TapOptions{Stage: "nobody"}, view.ErrNotFound},
		"no such port":      {view.TapOptions{Stage: "check", Port: "sideways"}, view.ErrNotFound},
		"in memory":         {view.TapOptions{Stage: "tag"}, view.ErrInvalid},
		"a broken filter":   {view.TapOptions{Filter: "event.nothing"}, view.ErrInvalid},
		"a negative sample": {view.TapOptions{Sample: -1}, view.ErrInvalid},
	} {
		if err := p.view.Tap(t.Context(), shop, c.options, func(*view.Stored) error { return nil }); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestTapFollows: what comes while somebody looks is shown, and nothing else.
func TestTapFollows(t *testing.T) {
	p := start(t)
	p.publish(t, order("before", "order.placed"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ids, ended := make(chan string, 100), make(chan error, 1)
	go func() {
		ended <- p.view.Tap(ctx, shop, view.TapOptions{Stage: "clean", Follow: true, Limit: 3}, func(s *view.Stored) error {
			ids <- s.ID
			return nil
		})
	}()
	for i := 0; len(ids) < 3; i++ { // the tap begins at any of them
		p.publish(t, order(fmt.Sprint("n", i), "order.placed"))
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if id := <-ids; !strings.HasPrefix(id, "n") {
			t.Errorf("got %s", id)
		}
	}
}

// TestHostileEvents: whatever an event holds, a tap shows it, and goes on.
func TestHostileEvents(t *testing.T) {
	p := start(t)
	large := strings.Repeat("x", 900<<10)
	p.publish(t, order("large", "order.placed"+large[:100]), `{"id":"body","source":"/s","type":"t","body":"`+large+`"}`,
		`{"id":"bidi","source":"/s","type":"t","body":"\u202egnp.exe \u0000 \u001b[2J <script>"}`, `{"id":`, "\x00\xff\xfe", strings.Repeat("[", 100_000))
	all := tapped(t, p, view.TapOptions{Since: time.Now().Add(-time.Minute)})
	if len(all) != 6 {
		t.Fatalf("got %d events, want 6", len(all))
	}
	for i, s := range all {
		if i < 3 != (s.Event != nil) || len(s.Text) > 600 {
			t.Errorf("event %d: %.300s", i, fmt.Sprintf("%+v", s))
		}
	}
}
