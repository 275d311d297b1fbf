package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"sync"

	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/view"
)

// maxRequest bounds the body of a request.
const maxRequest = 256 << 10

func readOnly() problem {
	return problem{
		Status: http.StatusForbidden, Reason: "ReadOnly", Message: "this console is read-only",
		Do: "millrace dlq replay and millrace dlq purge do the same, for who has the rights of an editor.",
	}
}

func (c *console) jobs(r *http.Request, of view.Name) (any, error) {
	jobs := []deadletter.Job{}
	if c.Editor == nil {
		return jobList{Jobs: jobs}, nil
	}
	all, err := c.Editor.Jobs(r.Context(), of)
	if err != nil {
		return nil, err
	}
	err = c.mayEdit(r, of)
	if err != nil && !errors.Is(err, ErrForbidden) {
		return nil, err
	}
	return jobList{append(jobs, all...), err == nil}, nil
}

// jobList are the jobs of a pipeline, and whether who asks may start another one, and purge dead letters.
type jobList struct {
	Jobs      []deadletter.Job `json:"jobs"`
	MayReplay bool             `json:"mayReplay"`
}

// mayEdit is nil when who asks may replay and purge dead letters.
func (c *console) mayEdit(r *http.Request, of view.Name) error {
	if c.Editor == nil {
		return readOnly()
	}
	if err := c.allowed(r.Context(), VerbGet, of); err != nil {
		return err
	}
	return c.allowed(r.Context(), VerbUpdate, of)
}

// decode reads the options of a request that changes something. A form of another site cannot send this type.
func decode(r *http.Request, options any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return problem{Status: http.StatusUnsupportedMediaType, Reason: "Invalid", Message: "want Content-Type: application/json"}
	}
	body := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRequest))
	body.DisallowUnknownFields()
	if err := body.Decode(options); err != nil {
		return invalid("the request: %v", err)
	}
	return nil
}

// replay starts a job, and works on it. A dry run says what the job would do.
func (c *console) replay(r *http.Request) (any, error) {
	of := pipelineOf(r)
	if err := c.mayEdit(r, of); err != nil {
		return nil, err
	}
	var o deadletter.ReplayOptions
	if err := decode(r, &o); err != nil {
		return nil, err
	}
	if o.Rate < 0 {
		return nil, invalid("rate %v: want 0 (as fast as it goes) or more", o.Rate)
	}
	if !o.DryRun && c.workers.busy() {
		return nil, tooManyJobs()
	}
	j, err := c.Editor.Start(r.Context(), of, o)
	if err == nil && !o.DryRun {
		c.changed(r, "replays dead letters", of, "job", j.ID)
		c.workers.work(of, j.ID)
	}
	return j, err
}

// resume works on a job whose process is gone.
func (c *console) resume(r *http.Request) (any, error) {
	of := pipelineOf(r)
	if err := c.mayEdit(r, of); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	all, err := c.Editor.Jobs(r.Context(), of)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(j deadletter.Job) bool { return j.ID == id })
	switch {
	case i < 0:
		return nil, fmt.Errorf("job %s of pipeline %s: %w", id, of, view.ErrNotFound)
	case all[i].State != deadletter.StateRunning:
		return nil, fmt.Errorf("job %s is %s: %w", id, all[i].State, deadletter.ErrEnded)
	}
	if c.workers.busy() {
		return nil, tooManyJobs()
	}
	c.changed(r, "goes on with a replay", of, "job", id)
	c.workers.work(of, id)
	return struct{}{}, nil
}

func (c *console) cancel(r *http.Request) (any, error) {
	of := pipelineOf(r)
	if err := c.mayEdit(r, of); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	j, err := c.Editor.Cancel(r.Context(), of, id)
	if err == nil {
		c.changed(r, "cancels a replay", of, "job", id)
	}
	return j, err
}

// maxPurge is how many dead letters one request removes, one by one: where each has to be agreed on by replicas they take seconds. The page asks again
// behind the last one.
const maxPurge = 1000

// purge removes dead letters for good. It needs the bound that a dry run gives, so that nobody removes what is stored while they look.
func (c *console) purge(r *http.Request) (any, error) {
	of := pipelineOf(r)
	if err := c.mayEdit(r, of); err != nil {
		return nil, err
	}
	var o deadletter.PurgeOptions
	if err := decode(r, &o); err != nil {
		return nil, err
	}
	if !o.DryRun {
		if o.Before == 0 {
			return nil, invalid("before is missing: make a dry run, and give its last sequence plus 1")
		}
		if o.Limit <= 0 || o.Limit > maxPurge {
			o.Limit = maxPurge
		}
	}
	p, err := c.Editor.Purge(r.Context(), of, o)
	if p != nil && p.Removed > 0 && !o.DryRun { // also when it failed then
		c.changed(r, "purges dead letters", of, "removed", p.Removed)
	}
	return p, err
}

// changed logs who has changed what.
func (c *console) changed(r *http.Request, what string, of view.Name, keysAndValues ...any) {
	if user, ok := r.Context().Value(userKey{}).(User); ok {
		c.Log.Info("a user of the console "+what, append([]any{"user", user.Name, "pipeline", of.String()}, keysAndValues...)...)
	}
}

// workers work on the jobs that were started here, whether their page is open or not. A job that is not done when the process
// ends is stalled: every console can go on with it.
type workers struct {
	run func(of view.Name, id string) error
	// failed hears of jobs that could not be worked on.
	failed func(err error)

	mu      sync.Mutex
	working map[string]bool
}

// newWorkers returns workers whose jobs stop when ctx ends.
func newWorkers(ctx context.Context, editor deadletter.Editor, failed func(error)) *workers {
	return &workers{
		working: map[string]bool{}, failed: failed,
		run: func(of view.Name, id string) error {
			_, err := editor.Run(ctx, of, id, nil)
			return err
		},
	}
}

// maxWorking is how many jobs are worked on at the same time: each holds some MiB of dead letters. Two requests at the same moment may make it one more.
const maxWorking = 8

// busy says that there are as many jobs as may be.
func (w *workers) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.working) >= maxWorking
}

func tooManyJobs() problem {
	return problem{
		Status: http.StatusTooManyRequests, Reason: "TooManyJobs", Message: fmt.Sprintf("%d jobs are worked on here", maxWorking),
		Do: "Wait until one is done, cancel one, or use millrace dlq replay.",
	}
}

// work begins to work on a job, unless that is done here already.
func (w *workers) work(of view.Name, id string) {
	key := of.Namespace + "/" + of.Name + "/" + id
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.working[key] {
		return
	}
	w.working[key] = true
	go func() {
		err := w.run(of, id)
		w.mu.Lock()
		delete(w.working, key)
		w.mu.Unlock()
		if err != nil && !errors.Is(err, deadletter.ErrEnded) && !errors.Is(err, deadletter.ErrRunning) && !errors.Is(err, context.Canceled) {
			w.failed(fmt.Errorf("replay %s of pipeline %s/%s: %w", id, of.Namespace, of.Name, err))
		}
	}()
}
