package engine_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// BenchmarkTakeover has correlate rebuild its state from 800,000 events in frames of 2,000, as enrich writes them. One
// event in a hundred is a warning: of all frames alike, or in rows, as trouble comes. Without marks is how frames were
// read before they had any. One operation is one takeover.
func BenchmarkTakeover(b *testing.B) {
	for _, c := range []struct {
		name          string
		in            float64 // part of the frames that hold warnings
		warns, marked bool
	}{
		{"no warnings/without marks", 0, false, false},
		{"no warnings/marks", 0, false, true},
		{"in rows/without marks", 0.1, true, false},
		{"in rows/marks", 0.1, true, true},
		{"everywhere/without marks", 1, true, false},
		{"everywhere/marks", 1, true, true},
	} {
		b.Run(c.name, func(b *testing.B) { takeovers(b, c.in, c.warns, c.marked) })
	}
}

func takeovers(b *testing.B, in float64, warns, marked bool) {
	const frames, size = 400, 2000
	r := newRig(b)
	r.store(frames, size, in, warns, marked)
	log := &took{}
	change := func(c *config.StageConfig, o *engine.Options) {
		c.Kind, c.Validate, c.Correlate = config.KindCorrelate, nil, &config.Correlate{Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{}}
		o.Factory, o.Log = correlate.NewFactory(), slog.New(slog.NewTextHandler(log, nil))
		c.Inputs[0].From = "enrich/out"
		c.Batch = config.Batch{MaxEvents: 4096, MaxBytes: 768 << 10, Linger: config.Duration(5 * time.Millisecond), MaxInFlightBytes: 16 << 20}
	}
	first := r.run(&testStage{}, change)
	r.wantDrained(2 * time.Minute)
	if err := first.end(); err != nil {
		b.Fatal(err)
	}
	var events int64
	var spent, used time.Duration
	for b.Loop() {
		before := cpuTime(b)
		next := r.run(&testStage{}, change)
		eventually(b, 2*time.Minute, func() string {
			if n, d := log.sum(); n > events {
				events, spent = n, d
				return ""
			}
			return "the state is not rebuilt"
		})
		used += cpuTime(b) - before
		if err := next.end(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(events)/spent.Seconds(), "events/s")
	b.ReportMetric(float64(used)/float64(events), "cpu-ns/event") // with the NATS server
}

// cpuTime is what this process has used.
func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sendFrame stores a frame of events, which says which are marked.
func (r *rig) sendFrame(lines []byte, marked bool) {
	d := decode.New(decode.Limits{Lift: true})
	events, _ := d.Decode(nil, decode.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}}, Data: lines})
	w := frame.Writer{Hints: true}
	w.Begin(frame.Header{})
	for i := range events {
		w.Add(&events[i])
	}
	msg := nats.NewMsg("in.frames")
	msg.Header.Set("Content-Type", event.ContentTypeFrame)
	msg.Header.Set(frame.HeaderEvents, strconv.Itoa(len(events)))
	if marked {
		msg.Header.Set(frame.HeaderMarked, w.Marks())
	}
	r.send(msg, w.AppendTo(nil))
}

// store stores frames of which a part holds warnings: one event in a hundred of all is one.
func (r *rig) store(frames, size int, in float64, warns, marked bool) {
	random := rand.New(rand.NewPCG(1, 2))
	for f := range frames {
		var lines bytes.Buffer
		for i := range size {
			severity := 9
			if warns && float64(f%10) < in*10 && random.Float64() < 0.01/in {
				severity = 13
			}
			pod := random.IntN(500)
			fmt.Fprintf(&lines, `{"id":"%d.%d.%x","source":"shop/cart-%d","type":"app.request","time":"%s","severitynumber":%d,"entity":{"kind":"Pod","namespace":"shop","name":"cart-%d","uid":"u-%d"},"span":{"name":"GET /","status":"ok","durationNs":%d},"resource":{"service.name":"cart","k8s.node.name":"n1"}}`+"\n",
				f, i, random.Uint64(), pod, time.Now().UTC().Format(time.RFC3339Nano), severity, pod, pod, random.IntN(5_000_000))
		}
		r.sendFrame(lines.Bytes(), marked)
	}
}

// took sums what the log of an engine says of its takeovers.
type took struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (t *took) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lines.Write(p)
}

var rebuilt = regexp.MustCompile(`state rebuilt.* events=(\d+) .* took=(\S+)`)

func (t *took) sum() (events int64, spent time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range rebuilt.FindAllStringSubmatch(t.lines.String(), -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		d, _ := time.ParseDuration(m[2])
		events, spent = events+n, spent+d
	}
	return events, spent
}

// BenchmarkTakeoverAtRate is a takeover of correlate and of analyze with their default horizons at 165,000 events/s, of which one in
// a hundred is a warning, or a value of one of 10,000 series. The input of ten seconds, which is what a worker that dies leaves
// behind its last snapshot, is replayed; how long the whole horizon would take follows from that.
func BenchmarkTakeoverAtRate(b *testing.B) {
	for _, c := range []struct {
		name    string
		factory stage.Factory
		horizon time.Duration
		set     func(*config.StageConfig)
	}{
		{"correlate", correlate.NewFactory(), 25 * time.Minute, func(c *config.StageConfig) {
			c.Kind, c.Correlate = config.KindCorrelate, &config.Correlate{Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{}}
		}},
		{"analyze", analyze.NewFactory(), 30 * time.Minute, func(c *config.StageConfig) {
			c.Kind, c.Analyze = config.KindAnalyze, &config.Analyze{Anomaly: &config.AnalyzeAnomaly{}, Trend: &config.AnalyzeTrend{}}
		}},
	} {
		for _, snapshots := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/snapshots=%v", c.name, snapshots), func(b *testing.B) { takeoverAtRate(b, c.factory, c.set, c.horizon, snapshots) })
		}
	}
}

func takeoverAtRate(b *testing.B, f stage.Factory, set func(*config.StageConfig), horizon time.Duration, snapshots bool) {
	const rate, seconds, size = 165_000, 10, 2000
	r := newRig(b)
	for _, bucket := range []string{"leases", "STATE_leases"} {
		if _, err := r.js.CreateKeyValue(b.Context(), jetstream.KeyValueConfig{Bucket: bucket}); err != nil {
			b.Fatal(err)
		}
	}
	log := &took{}
	start := func(every time.Duration) *running {
		return r.run(&testStage{}, func(c *config.StageConfig, o *engine.Options) {
			c.Validate = nil
			set(c)
			o.Factory, o.Log, o.SnapshotEvery = f, slog.New(slog.NewTextHandler(log, nil)), every
			c.Inputs[0].From, c.DrainTimeout = "enrich/out", config.Duration(time.Minute)
			c.Batch = config.Batch{MaxEvents: 4096, MaxBytes: 768 << 10, Linger: config.Duration(5 * time.Millisecond), MaxInFlightBytes: 16 << 20}
			if snapshots {
				c.Leases, o.LeaseEvery, o.LeaseExpire = "leases", 200*time.Millisecond, time.Second
			}
		})
	}
	// What the snapshot holds, then what came behind it.
	r.storeValues(rate*seconds/size, size)
	first := start(time.Hour)
	r.wantDrained(5 * time.Minute)
	if err := first.end(); err != nil {
		b.Fatal(err)
	}
	if snapshots {
		r.storeValues(rate*seconds/size, size)
		second := start(time.Hour)
		r.wantDrained(5 * time.Minute)
		second.nc.Close() // it died
		_ = second.end()
	}
	log.reset()
	var events int64
	var spent time.Duration
	for n := int64(1); b.Loop(); n++ {
		next := start(time.Hour)
		eventually(b, 5*time.Minute, func() string {
			if events, spent = log.sum(); events == n*rate*seconds {
				return ""
			}
			return fmt.Sprintf("%d events are replayed", events)
		})
		next.nc.Close()
		_ = next.end()
	}
	takeover := (spent + log.restored()).Seconds() / float64(b.N)
	if !snapshots {
		takeover *= horizon.Seconds() / seconds
	}
	b.ReportMetric(takeover, "s/takeover")
	b.ReportMetric(0, "ns/op")
}

// storeValues stores frames of which one event in a hundred is a warning, one a value.
func (r *rig) storeValues(frames, size int) {
	random := rand.New(rand.NewPCG(1, 2))
	for f := range frames {
		var lines bytes.Buffer
		for i := range size {
			severity, more := 9, `"span":{"name":"GET /","status":"ok","durationNs":1000000}`
			pod := random.IntN(10_000)
			switch i % 100 {
			case 0:
				severity = 13
			case 1:
				more = fmt.Sprintf(`"metric":{"name":"memory","value":%d}`, 1000+random.IntN(100))
			}
			fmt.Fprintf(&lines, `{"id":"%d.%d.%x","source":"shop/cart-%d","type":"app.request","time":"%s","severitynumber":%d,"entity":{"kind":"Pod","namespace":"shop","name":"cart-%d","uid":"u-%d"},%s,"resource":{"service.name":"cart","k8s.node.name":"n1"}}`+"\n",
				f, i, random.Uint64(), pod, time.Now().UTC().Format(time.RFC3339Nano), severity, pod, pod, more)
		}
		r.sendFrame(lines.Bytes(), true)
	}
}

var restored = regexp.MustCompile(`state restored.* took=(\S+)`)

// restored is how long snapshots took to be read.
func (t *took) restored() (spent time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range restored.FindAllStringSubmatch(t.lines.String(), -1) {
		d, _ := time.ParseDuration(m[1])
		spent += d
	}
	return spent
}

func (t *took) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines.Reset()
}
