package operator_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

// backlog is what status says of the first input of a stage; nil where it says nothing.
func (x *tenant) backlog(stage string) *v1alpha1.BacklogStatus {
	x.t.Helper()
	all := x.stage(stage).Status.Consumers
	if len(all) == 0 {
		return nil
	}
	return all[0].Backlog
}

// wantBacklog waits until a stage says what it found, and returns it.
func (x *tenant) wantBacklog(stage string, events int64) v1alpha1.BacklogStatus {
	x.t.Helper()
	var found v1alpha1.BacklogStatus
	x.eventually(func() error {
		got := x.backlog(stage)
		if got == nil || got.Events != events || got.Oldest.IsZero() || got.Created.Before(&got.Oldest) {
			return fmt.Errorf("stage %s: got %+v, want %d events", stage, got, events)
		}
		found = *got
		return nil
	})
	return found
}

// TestNewStageSaysWhatItWillRead: a stage that is added, and one whose input is changed, begins at the oldest stored
// event. Status and an Event say how many there are while no worker has read one.
func TestNewStageSaysWhatItWillRead(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	x.start(x.small())
	if got := x.backlog("obs-validate"); got != nil {
		t.Errorf("a stage on an empty stream says %+v", got)
	}
	x.publish(40)
	copied := x.attached("copy", "ingress")
	copied.Spec.Suspend = true
	x.create(copied)
	first := x.wantBacklog("copy", 40)
	x.event("copy", v1alpha1.ReasonReadsFromStart, fmt.Sprintf(
		"oldest stored event of stream %s: it will read about 40 events, stored since %s", x.stream("raw"), first.Oldest.UTC().Format(time.RFC3339)))

	// It stays as it was when it was made, whatever is read and comes in.
	x.process(x.stream("raw"), x.durable("copy"), 40)
	x.publish(2)
	x.eventually(func() error {
		if lag := x.stage("copy").Status.Lag; lag == nil || *lag != 2 {
			return fmt.Errorf("got lag %v, want 2", lag)
		}
		return nil
	})
	if got := x.wantBacklog("copy", 40); !got.Created.Equal(&first.Created) {
		t.Errorf("got %+v, want %+v as before", got, first)
	}
	x.process(x.stream("raw"), x.durable("copy"), 2)

	// Another input: dead letters, which share a stream that has some of another stage.
	for range 3 {
		for _, stage := range []string{"validate", "other"} {
			if _, err := x.js.Publish(t.Context(), x.ns+".obs.dead-letter."+stage+".0", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	edit(x, copied, func(s *v1alpha1.Stage) { s.Spec.From = []string{"validate/dead-letter"} })
	x.wantBacklog("copy", 3)
	x.event("copy", v1alpha1.ReasonReadsFromStart, "stream "+x.stream("dead_letters")+": it will read about 3 events")
}

// warnings are what the API server says beside its answers.
type warnings struct {
	mu   sync.Mutex
	said []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

func (w *warnings) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.said, "\n")
	w.said = nil
	return all
}

// TestApplyWarnsOfWhatANewStageWillRead: kubectl apply says so, with --dry-run=server too.
func TestApplyWarnsOfWhatANewStageWillRead(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	var said warnings
	config := rest.CopyConfig(x.plane.Config())
	config.WarningHandler = &said
	user, err := client.New(config, client.Options{Scheme: x.client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	x.askOperator()
	p := x.start(x.small())
	x.publish(7)
	x.eventually(func() error {
		x.get(p)
		for _, s := range p.Status.Streams {
			if s.Name == x.stream("raw") && s.Messages == 7 {
				return nil
			}
		}
		return fmt.Errorf("got %+v", p.Status.Streams)
	})
	want := "starts at the oldest stored event of stream " + x.stream("raw") + ", which holds 7 messages"

	if err := user.Create(t.Context(), x.attached("copy", "ingress"), client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if got := said.take(); !strings.Contains(got, "spec.from[0]: stage copy "+want) {
		t.Errorf("an attached Stage: got %q, want %q", got, want)
	}
	update := func(change func(*v1alpha1.Pipeline)) string {
		t.Helper()
		next := p.DeepCopy()
		change(next)
		if err := user.Patch(t.Context(), next, client.MergeFrom(p), client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		return said.take()
	}
	added := update(func(p *v1alpha1.Pipeline) {
		p.Spec.Stages = append(p.Spec.Stages, v1alpha1.PipelineStage{Name: "more", StageNode: x.attached("", "validate", "ingress").Spec.StageNode})
	})
	if !strings.Contains(added, "spec.stages[1].from[1]: stage more "+want) || strings.Contains(added, "from[0]") {
		t.Errorf("a new stage: got %q, want %q", added, want)
	}
	renamed := update(func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Name = "check" })
	if !strings.Contains(renamed, "spec.stages[0].from[0]: stage check "+want) {
		t.Errorf("a renamed stage: got %q, want %q", renamed, want)
	}
	if got := update(func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Validate.Rules = nil }); got != "" {
		t.Errorf("a change of rules warns of %q", got)
	}
}
