package engine_test

import (
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// noting is a stage that has something to say.
type noting struct {
	testStage
	note      atomic.Value
	requester stage.Requester
}

func (s *noting) New(o stage.Settings) (stage.Stage, error) {
	s.requester = o.Requester
	return s, nil
}

func (s *noting) Notes() []string {
	if note, _ := s.note.Load().(string); note != "" {
		return []string{note}
	}
	return nil
}

// TestNotes are in the text of a worker that is ready, and do not make it unready. A stage is given what it may ask others with.
func TestNotes(t *testing.T) {
	r := newRig(t)
	s := &noting{}
	e := r.run(&s.testStage, func(_ *config.StageConfig, o *engine.Options) { o.Factory = s })
	ready := func(want string) {
		t.Helper()
		eventually(t, 10*time.Second, func() string {
			if ok, text := e.Ready(); !ok || text != want {
				return text
			}
			return ""
		})
	}
	ready("ok")
	s.note.Store("the breaker is open")
	ready("ok\nstage validate: the breaker is open")
	s.note.Store("")
	ready("ok")
	requests, err := s.requester.Open(func(stage.Reply) {})
	if err != nil {
		t.Fatal(err)
	}
	requests.Close()
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
}
