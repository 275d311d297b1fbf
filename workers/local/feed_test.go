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
	for name, tc := range map[string]struct {
		input     string
		interrupt time.Duration
		o         Options
	}{
		"by --for":                   {input: large(), o: Options{For: 2500 * time.Millisecond}},
		"by an interrupt":            {input: small(), interrupt: 2500 * time.Millisecond},
		"by an interrupt of a drain": {input: small(), interrupt: time.Second, o: Options{UntilDrained: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if tc.interrupt > 0 {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, tc.interrupt)
				defer stop()
			}
			tc.o.Input = "-"
			got := run(ctx, t, pipeline(smallStreams, stages), tc.input, tc.o)
			if got.err != nil || got.EventsIn == 0 || got.Stages["validate"].In != got.EventsIn {
				t.Errorf("%d events were stored and %d processed: %v", got.EventsIn, got.Stages["validate"].In, got.err)
			}
			if want := "ingress full, waiting"; !tc.o.UntilDrained && !strings.Contains(got.progress, want) {
				t.Errorf("the progress does not say %q:\n%s", want, got.progress)
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
