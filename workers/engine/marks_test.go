package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// watcher is a stage with state that needs marked events only, and writes down what it is given.
type watcher struct {
	mu   sync.Mutex
	seen []string
}

func (*watcher) Kind() config.Kind                         { return config.KindValidate }
func (*watcher) Stateful(*config.StageConfig) bool         { return true }
func (w *watcher) New(stage.Settings) (stage.Stage, error) { return w, nil }
func (*watcher) Start(context.Context) error               { return nil }
func (*watcher) Shutdown(context.Context) error            { return nil }
func (*watcher) Horizon() time.Duration                    { return time.Hour }
func (*watcher) OnlyMarked() bool                          { return true }

func (w *watcher) Process(_ context.Context, b *stage.Batch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range b.Events {
		w.seen = append(w.seen, strings.Clone(b.Events[i].ID))
	}
	return nil
}

func (w *watcher) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	return seen
}

// TestTakeoverReadsMarkedEventsOnly: frames of stages name their marked events, and the state of a stage that needs no
// others is rebuilt by these. What somebody else says of a frame is not believed.
func TestTakeoverReadsMarkedEventsOnly(t *testing.T) {
	for from, want := range map[string][]string{"enrich/out": {"f0.1", "f2.0", "f2.2", "old"}, "ingress": nil} {
		t.Run(from, func(t *testing.T) {
			r := newRig(t)
			var all []string
			block := func(marked bool, lines ...string) {
				d := decode.New(decode.Limits{})
				events, _ := d.Decode(nil, decode.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}}, Data: []byte(strings.Join(lines, "\n"))})
				var w frame.Writer
				w.Begin(frame.Header{})
				msg := nats.NewMsg("in.frames")
				for i := range events {
					w.Add(&events[i])
					all = append(all, events[i].ID)
				}
				msg.Header.Set("Content-Type", event.ContentTypeFrame)
				msg.Header.Set(frame.HeaderEvents, fmt.Sprint(len(lines)))
				if marked {
					msg.Header.Set(frame.HeaderMarked, w.Marks())
				}
				r.send(msg, w.AppendTo(nil))
			}
			info, warn := `{"id":%q,"source":"s","type":"app.log","severitynumber":9}`, `{"id":%q,"source":"s","type":"app.log","severitynumber":13}`
			block(true, fmt.Sprintf(info, "f0.0"), fmt.Sprintf(warn, "f0.1"))
			block(true, fmt.Sprintf(info, "f1.0"), fmt.Sprintf(info, "f1.1"))
			block(true, fmt.Sprintf(warn, "f2.0"), fmt.Sprintf(info, "f2.1"), `{"id":"f2.2","source":"s","type":"k8s.pod.ready"}`)
			block(false, fmt.Sprintf(info, "old"))
			w := &watcher{}
			change := func(c *config.StageConfig, o *engine.Options) { o.Factory, c.Inputs[0].From = w, from }
			first := r.run(&testStage{}, change)
			r.wantDrained(10 * time.Second)
			if err := first.end(); err != nil {
				t.Fatal(err)
			}
			if got := w.take(); !slices.Equal(got, all) {
				t.Fatalf("the stage was given %v, want %v", got, all)
			}
			r.wantOnce("OUT", all)
			second := r.run(&testStage{}, change)
			r.publish("next", 1)
			r.wantDrained(10 * time.Second)
			if err := second.end(); err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = all
			}
			if got := w.take(); !slices.Equal(got, append(want, "next0")) {
				t.Errorf("the stage was rebuilt by %v, want %v", got, want)
			}
			for _, m := range r.stored("OUT") {
				if m.Headers().Get(frame.HeaderMarked) == "" {
					t.Errorf("a frame does not name its marked events: %v", m.Headers())
				}
			}
		})
	}
}
