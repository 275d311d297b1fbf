package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/harness/process"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/frame"
)

// soak is a steady load, and what it does to the processes.
type soak struct {
	rig  *rig.Rig
	rate int // events a second
	long time.Duration
	load *load

	published int
	behind    time.Duration // how late the publisher was at most
	took      time.Duration
	pauses    *pauses
	memory    map[string]*resident // by process
}

// perMessage is how many lines one message of the load has.
const perMessage = 100

// run publishes for as long as s says, and waits until all is drained.
func (s *soak) run(ctx context.Context) error {
	s.pauses, s.memory = newPauses(), map[string]*resident{}
	sub, err := s.rig.Conn().Subscribe(s.rig.Output("enrich", "out").Subject+".>", s.pauses.note)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // nothing is lost
	sampling, stop := context.WithCancel(ctx)
	var both errgroup.Group
	both.Go(func() error { return s.sample(sampling) })
	began := time.Now()
	err = s.publish(ctx)
	s.pauses.end()
	s.took = time.Since(began)
	stop()
	if err := errors.Join(err, both.Wait()); err != nil {
		return err
	}
	drain, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.rig.WaitDrained(drain)
}

// publish sends the load at its rate.
func (s *soak) publish(ctx context.Context) error {
	js, err := jetstream.New(s.rig.Conn(), jetstream.WithPublishAsyncMaxPending(window))
	if err != nil {
		return err
	}
	began := time.Now()
	for time.Since(began) < s.long {
		due := began.Add(time.Duration(s.published) * time.Second / time.Duration(s.rate))
		if d := time.Until(due); d > 0 {
			if err := wait(ctx, d); err != nil {
				return err
			}
		} else {
			s.behind = max(s.behind, -d)
		}
		m := &nats.Msg{
			Subject: "events.raw.soak", Data: s.load.next(perMessage), Header: nats.Header{event.HeaderContentType: {event.ContentTypeNDJSON}},
		}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
		s.published += perMessage
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// load makes lines without end: a story is told again and again, each time with other ids, and
// each event happens when it is published.
type load struct {
	lines []template
	at    int
	lap   int
	buf   []byte
}

// template is a line in three parts: before the number of the lap, before the time, behind it.
type template [3][]byte

func newLoad() (*load, error) {
	story, err := generator.Generate(generator.Options{Seed: 1, Events: 50_000, End: time.Now()})
	if err != nil {
		return nil, err
	}
	l := &load{}
	for _, line := range story.Lines {
		head, rest, ok := bytes.Cut(line, []byte(`"id":"demo-`))
		middle, tail, ok2 := bytes.Cut(rest, []byte(`"time":"`))
		if at := bytes.Index(rest, []byte(`"timestamp":"`)); !ok2 && at >= 0 {
			at += len(`"timestamp":"`)
			middle, tail, ok2 = rest[:at], rest[at:], true
		} else {
			middle = append(middle[:len(middle):len(middle)], `"time":"`...)
		}
		end := bytes.IndexByte(tail, '"')
		if !ok || !ok2 || end < 0 {
			return nil, fmt.Errorf("line without id or time: %s", line)
		}
		l.lines = append(l.lines, template{append(head[:len(head):len(head)], `"id":"soak-`...), append([]byte("-"), middle...), tail[end:]})
	}
	return l, nil
}

// next returns n lines.
func (l *load) next(n int) []byte {
	now := event.AppendTime(nil, time.Now().UnixNano())
	b := make([]byte, 0, len(l.buf)+len(l.buf)/4)
	for range n {
		t := &l.lines[l.at]
		b = strconv.AppendInt(append(b, t[0]...), int64(l.lap), 10)
		b = append(append(append(append(b, t[1]...), now...), t[2]...), '\n')
		if l.at++; l.at == len(l.lines) {
			l.at, l.lap = 0, l.lap+1
		}
	}
	l.buf = b
	return b
}

// pauses measure how long the partitions of ENRICHED_EVENTS stand still.
type pauses struct {
	mu      sync.Mutex
	last    map[string]time.Time
	longest time.Duration
	events  int
	ended   bool
}

func newPauses() *pauses { return &pauses{last: map[string]time.Time{}} }

func (p *pauses) note(m *nats.Msg) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if before, ok := p.last[m.Subject]; ok && !p.ended {
		p.longest = max(p.longest, now.Sub(before))
	}
	p.last[m.Subject] = now
	n, _ := strconv.Atoi(m.Header.Get(frame.HeaderEvents))
	p.events += n
}

// end says that the load is over; a partition that stands still since before counts too.
func (p *pauses) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.last {
		p.longest = max(p.longest, time.Since(at))
	}
	p.ended = true
}

// resident is the memory of a process over time.
type resident struct {
	pid     int
	minutes []float64
	kib     []float64
}

// sampleEvery is how often the memory is looked at.
const sampleEvery = time.Second

// sample looks at the memory of the processes until ctx ends.
func (s *soak) sample(ctx context.Context) error {
	s.memory["nats-server"] = &resident{pid: s.rig.Server().Pid()}
	for _, w := range s.rig.Running("") {
		s.memory[w.Name()] = &resident{pid: w.Pid()}
	}
	began := time.Now()
	for wait(ctx, sampleEvery) == nil {
		for name, r := range s.memory {
			kib, err := process.ResidentKiB(r.pid)
			if err != nil {
				return fmt.Errorf("memory of %s: %w", name, err)
			}
			r.minutes = append(r.minutes, time.Since(began).Minutes())
			r.kib = append(r.kib, kib)
		}
	}
	return nil
}

// slope is the growth in KiB a minute by least squares over the samples behind the first
// minute; over the second half of a load that is shorter than two minutes.
func (r *resident) slope() float64 {
	n := len(r.minutes)
	if n == 0 {
		return 0
	}
	from, _ := slices.BinarySearch(r.minutes, min(1, r.minutes[n-1]/2))
	var x, y, xx, xy float64
	for i := from; i < n; i++ {
		x += r.minutes[i]
		y += r.kib[i]
		xx += r.minutes[i] * r.minutes[i]
		xy += r.minutes[i] * r.kib[i]
	}
	k := float64(n - from)
	if d := k*xx - x*x; d > 0 {
		return (k*xy - x*y) / d
	}
	return 0
}

// report writes what was measured.
func (s *soak) report(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "%d events in %s, %.0f a second; the publisher was behind by %s at most; no partition stood still for longer than %s\n",
		s.published, s.took.Round(time.Second), float64(s.published)/s.took.Seconds(), s.behind.Round(time.Millisecond), s.pauses.longest.Round(time.Millisecond))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "process\tRSS begin, MiB\tend\tmost\tslope, KiB/min\t")
	for _, name := range sortedKeys(s.memory) {
		r := s.memory[name]
		if len(r.kib) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.0f\t\n", name, r.kib[0]/1024, r.kib[len(r.kib)-1]/1024, slices.Max(r.kib)/1024, r.slope())
	}
	fmt.Fprintln(w, "\nstate\tsize\t\t\t\t")
	for _, worker := range s.rig.Running("") {
		metrics, err := worker.Metrics(ctx)
		if err != nil {
			return err
		}
		sizes := map[string]float64{}
		for _, m := range metrics {
			if isState(m.Name) {
				sizes[m.Name] += m.Value
			}
		}
		for _, name := range sortedKeys(sizes) {
			fmt.Fprintf(w, "%s %s\t%.0f\t\t\t\t\n", worker.Name(), name, sizes[name])
		}
	}
	return w.Flush()
}

// isState says whether a metric is the size of what a stage remembers.
func isState(name string) bool {
	if strings.HasSuffix(name, "_total") {
		return false
	}
	for _, prefix := range []string{"millrace_dedupe_", "millrace_correlate_", "millrace_analyze_", "millrace_enrich_cache_", "go_goroutines", "go_memstats_heap_inuse_bytes"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
