package local

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// smallStreams are full after about five of large's lines, and after 4000 of small's.
const smallStreams = "streams: {maxBytes: 1Mi}"

func large() string { return lines(20, 200_000) }
func small() string { return lines(20_000, 200) }

// lines makes n events with a body of size bytes.
func lines(n, size int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"e-%d","source":"/t","type":"app.log","body":"%s"}`+"\n", i, strings.Repeat("x", size))
	}
	return b.String()
}

func TestInputEndsWhereTheIngressIsFull(t *testing.T) {
	const waiting = "ingress full, waiting"
	for name, tc := range map[string]struct {
		input string
		// until is what the progress says when the run is interrupted; empty = it ends by itself.
		until string
		o     Options
	}{
		"by --for":            {input: large(), o: Options{For: 2500 * time.Millisecond}},
		"by an interrupt":     {input: small(), until: waiting},
		"by --for of a drain": {input: small(), o: Options{UntilDrained: true, For: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetting(t, pipeline(smallStreams, stages), tc.input)
			tc.o.Input, tc.o.File, tc.o.Report = "-", s.file, s.report
			ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
			defer interrupt()
			said := make(chan bool, 1)
			go func() {
				for ctx.Err() == nil && (tc.until == "" || !strings.Contains(s.progress.String(), tc.until)) {
					time.Sleep(20 * time.Millisecond)
				}
				said <- ctx.Err() == nil
				interrupt()
			}()
			got := s.outcome(func() error { return Run(ctx, tc.o, s.env) })
			interrupt()
			if got.err != nil || got.EventsIn == 0 || got.Stages["validate"].In != got.EventsIn {
				t.Errorf("%d events were stored and %d processed: %v", got.EventsIn, got.Stages["validate"].In, got.err)
			}
			if in := <-said; tc.until != "" && !in {
				t.Errorf("the progress does not say %q:\n%s", tc.until, got.progress)
			}
		})
	}
}

func TestDrainThatCannotEndFails(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), t, pipeline(smallStreams, stages), large(), Options{Input: "-", UntilDrained: true})
	for _, want := range []string{"publish input: the ingress stream DEFAULT_P_RAW takes no more", "maximum bytes exceeded", "raise spec.streams.maxBytes"} {
		if got.err == nil || !strings.Contains(got.err.Error(), want) {
			t.Errorf("got %v, want %q", got.err, want)
		}
	}
}
