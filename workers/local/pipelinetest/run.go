package pipelinetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/jsontext"
	"millrace.dev/millrace/workers/local"
)

// runner runs tests.
type runner struct {
	env         *cel.Env
	registry    local.NewRegistry
	secretFiles string
	log         *slog.Logger
}

// Result is what came of a test.
type Result struct {
	File    string    `json:"file"`
	Name    string    `json:"name"`
	Passed  bool      `json:"passed"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"` // why it did not come to its end
	Failed  []Failure `json:"failures,omitempty"`
}

// run runs a test in a pipeline of its own.
func (r *runner) run(ctx context.Context, s *Suite, i int) Result {
	began := time.Now()
	result := Result{File: s.Name, Name: s.Tests[i].Name}
	_, failures, err := r.observe(ctx, s, i, false)
	result.Seconds, result.Failed = time.Since(began).Seconds(), failures
	if err != nil {
		result.Error = err.Error()
	}
	result.Passed = err == nil && len(failures) == 0
	return result
}

// observe takes a test to its end, and returns what failed. With keep it returns what all ports carried as well.
func (r *runner) observe(ctx context.Context, s *Suite, i int, keep bool) (ports map[string]*port, _ []Failure, err error) {
	t := &s.Tests[i]
	dir, err := os.MkdirTemp("", "millrace-test-")
	if err != nil {
		return nil, nil, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	snapshot, err := s.snapshot(dir)
	if err != nil {
		return nil, nil, err
	}
	skipped := s.skipped(t)
	start, err := s.start(t)
	if err != nil {
		return nil, nil, err
	}
	trial, err := local.OpenTrial(ctx, &local.TrialOptions{
		Plan: s.Plan, Skip: skipped, Start: start, SecretFiles: r.secretFiles, ModelFiles: s.models, Registry: r.registry(local.Kubernetes{Snapshot: snapshot}), Log: r.log,
	})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if failed := trial.Close(ctx); err == nil {
			err = failed
		}
	}()
	if err := within(ctx, defaultTimeout, trial.Settle); err != nil {
		return nil, nil, fmt.Errorf("start the stages: %w", err)
	}
	o := &observer{suite: s, trial: trial, env: r.env, ports: map[string]*port{}}
	err = within(ctx, duration(t.Timeout, defaultTimeout), func(ctx context.Context) error {
		path := fmt.Sprintf("tests[%d]", i)
		if err := o.steps(ctx, t, path); err != nil {
			return err
		}
		return o.end(ctx, t, path, skipped)
	})
	if err != nil || !keep {
		return nil, o.failures, err
	}
	for _, name := range trial.Ports() {
		if _, err := o.read(ctx, name); err != nil {
			return nil, nil, err
		}
	}
	return o.ports, o.failures, nil
}

// within calls f, and says so if it is not over by the limit.
func within(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := f(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("not over within %s: %w", limit, err)
	}
	return err
}

// end compares what the ports carry in the end.
func (o *observer) end(ctx context.Context, t *Test, path string, skipped []string) error {
	o.ports = map[string]*port{}
	if err := o.expectations(ctx, t.Expect, path+".expect"); err != nil {
		return err
	}
	if t.NothingElse {
		return o.leaves(ctx, t, path, skipped)
	}
	return nil
}

// skipped are the stages that do not run in a test.
func (s *Suite) skipped(t *Test) []string {
	names := slices.Clone(t.Skip)
	for _, step := range t.Steps {
		if step.To != "" {
			name, _, _ := strings.Cut(config.PortName(step.To), "/")
			names = append(names, name)
		}
	}
	return names
}

// start is what the clock of a test shows in the beginning.
func (s *Suite) start(t *Test) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, t.Start); err == nil {
		return at, nil
	}
	var found time.Time
	for i := range t.Steps {
		err := s.messages(&t.Steps[i], func(data []byte) error {
			events, _ := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: data})
			for k := range events {
				if at := events[k].Time; at != 0 && found.IsZero() {
					found = time.Unix(0, at).UTC()
					return io.EOF
				}
			}
			return nil
		})
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return found, err
		}
	}
	return defaultStart(), nil
}

// messages calls visit for each message that a step sends.
func (s *Suite) messages(step *Step, visit func([]byte) error) error {
	for _, message := range step.Send {
		data := []byte(message)
		var raw string
		if json.Unmarshal(message, &raw) == nil {
			data = []byte(raw)
		}
		if err := visit(data); err != nil {
			return err
		}
	}
	if step.File == "" {
		return nil
	}
	file, err := os.Open(s.path(step.File))
	if err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	defer func() { _ = file.Close() }()
	for text, err := range jsontext.NewReader(file, jsontext.MaxText).All() {
		if err != nil {
			return fmt.Errorf("read the events of %s: %w", step.File, err)
		}
		if err := visit(bytes.Clone(text)); err != nil {
			return err
		}
	}
	return nil
}

// steps takes the steps of a test.
func (o *observer) steps(ctx context.Context, t *Test, path string) error {
	for k := range t.Steps {
		if err := o.step(ctx, &t.Steps[k], fmt.Sprintf("%s.steps[%d]", path, k)); err != nil {
			return err
		}
	}
	return nil
}

func (o *observer) step(ctx context.Context, step *Step, path string) error {
	o.ports = map[string]*port{}
	switch {
	case step.Advance != "":
		if err := o.trial.Advance(ctx, duration(step.Advance, 0)); err != nil {
			return o.at(path+".advance", err)
		}
		return nil
	case len(step.Expect) > 0:
		return o.expectations(ctx, step.Expect, path+".expect")
	}
	err := o.suite.messages(step, func(data []byte) error {
		if step.To != "" {
			stageName, portName, _ := strings.Cut(config.PortName(step.To), "/")
			return o.trial.Put(ctx, stageName, portName, data)
		}
		below := step.Subject
		if below == "" {
			below = defaultSubject
		}
		return o.trial.Publish(ctx, below, data)
	})
	if err == nil {
		err = o.trial.Settle(ctx)
	}
	return o.at(path, err)
}

// at says at which line of the file a test did not go on.
func (o *observer) at(path string, err error) error {
	if err == nil {
		return nil
	}
	p := o.suite.object.Problem(path, "")
	return fmt.Errorf("%s:%d: %s: %w", p.File, p.Line, path, err)
}
