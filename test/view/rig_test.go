package view

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/join"
	"millrace.dev/millrace/workers/local"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/transform"
	"millrace.dev/millrace/workers/validate"
)

// shop is the name of the pipeline of testdata/shop.yaml.
var shop = view.Name{Namespace: "default", Name: "shop"}

// pipeline is one that runs in this process, with a reader.
type pipeline struct {
	*local.Trial
	plan   *plan.Plan
	source view.Source
	view   *view.View
}

// planned is the pipeline: to plan it takes longer than a test.
var planned = sync.OnceValues(func() (*plan.Plan, error) {
	plans, err := manifest.Plans(context.Background(), strings.NewReader(""), []string{"testdata/shop.yaml"}, "")
	if err != nil {
		return nil, err
	}
	return plans[0], nil
})

func start(t testing.TB, skip ...string) *pipeline {
	t.Helper()
	p, err := planned()
	if err != nil {
		t.Fatal(err)
	}
	return startPlan(t, p, skip...)
}

// startPlan is start with another pipeline.
func startPlan(t testing.TB, p *plan.Plan, skip ...string) *pipeline {
	t.Helper()
	trial, err := local.OpenTrial(t.Context(), &local.TrialOptions{
		Plan: p, Skip: skip, Start: time.Now(), Log: slog.New(slog.DiscardHandler),
		Registry: stage.NewRegistry(validate.NewFactory(), transform.NewFactory(), join.NewFactory(), correlate.NewFactory()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trial.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	source := view.NewPlans(view.Server{URL: "nats://127.0.0.1:4222", InProcess: trial}, p)
	t.Cleanup(source.Close)
	v, err := view.New(source, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &pipeline{trial, p, source, v}
}

// publish publishes messages, and waits until all stages have processed them.
func (p *pipeline) publish(t *testing.T, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := p.Publish(t.Context(), "test", []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// order is an event as JSON.
func order(id, kind string) string {
	return fmt.Sprintf(`{"id":%q,"source":"/shop","type":%q,"subject":"cart-%s","body":"%s of %s"}`, id, kind, id, kind, id)
}
