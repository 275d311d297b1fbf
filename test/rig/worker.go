package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"millrace.dev/millrace/test/harness/process"
)

// Worker is one `millrace worker` process.
type Worker struct {
	name, stage, addr string
	process           *process.Process
	rig               *Rig
}

// StartWorker starts one more worker of a stage, with args after those of the rig. It does
// not wait until the worker is ready: see WaitReady.
func (r *Rig) StartWorker(stage string, args ...string) (*Worker, error) {
	return r.StartProgram(stage, r.o.Binary, slices.Concat([]string{"worker"}, r.o.WorkerArgs, args)...)
}

// StartProgram starts another program in the place of a worker of a stage. It is given args,
// then --config FILE --listen ADDRESS, and serves what a worker serves.
func (r *Rig) StartProgram(stage, path string, args ...string) (*Worker, error) {
	file := r.ConfigFile(stage)
	if file == "" {
		return nil, fmt.Errorf("start worker: the pipeline has no stage %q", stage)
	}
	port, err := process.FreePort()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &Worker{name: fmt.Sprintf("%s-%d", stage, r.count(stage)), stage: stage, addr: fmt.Sprintf("127.0.0.1:%d", port), rig: r}
	w.process, err = process.Start(process.Command{
		Name: w.name, Path: path, Dir: r.dir, LogFile: filepath.Join(r.dir, w.name+".log"),
		Args: slices.Concat(args, []string{"--config", file, "--listen", w.addr}),
		Env:  slices.Concat(os.Environ(), []string{"POD_NAME=" + w.name}, r.o.WorkerEnv),
	})
	if err != nil {
		return nil, err
	}
	r.workers = append(r.workers, w)
	r.log.Info("worker started", "worker", w.name, "pid", w.Pid())
	return w, nil
}

// StartAll starts one worker for each stage that has workers and waits until all are ready.
func (r *Rig) StartAll(ctx context.Context) error {
	var started []*Worker
	for _, s := range r.plan.Stages {
		if s.Head != "" {
			continue // its head runs it
		}
		w, err := r.StartWorker(s.Name)
		if err != nil {
			return err
		}
		started = append(started, w)
	}
	for _, w := range started {
		if err := w.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// count is the number of workers that stage has had.
func (r *Rig) count(stage string) int {
	n := 0
	for _, w := range r.workers {
		if w.stage == stage {
			n++
		}
	}
	return n
}

// Workers are all that were started, in the order of their start; those that ended too.
func (r *Rig) Workers() []*Worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.workers)
}

// Running are the workers of a stage that have not ended; of all stages when it is empty.
func (r *Rig) Running(stage string) []*Worker {
	return slices.DeleteFunc(r.Workers(), func(w *Worker) bool {
		return !w.process.Running() || (stage != "" && w.stage != stage)
	})
}

// Name is the stage and a number: the name of the pod in the worker's environment.
func (w *Worker) Name() string { return w.name }

// Stage is the name of the stage that the worker runs.
func (w *Worker) Stage() string { return w.stage }

// Pid of the process.
func (w *Worker) Pid() int { return w.process.Pid() }

// Addr is where the worker serves health and metrics.
func (w *Worker) Addr() string { return w.addr }

// Running says whether the process has not ended.
func (w *Worker) Running() bool { return w.process.Running() }

// Kill9 ends the worker as a crash does, and waits until it is gone.
func (w *Worker) Kill9() {
	if w.process.Running() {
		w.process.Kill()
		w.rig.log.Info("worker killed", "worker", w.name)
	}
}

// Stop freezes the worker with SIGSTOP, until Cont.
func (w *Worker) Stop() error { return w.process.Signal(syscall.SIGSTOP) }

// Cont lets a stopped worker go on.
func (w *Worker) Cont() error { return w.process.Signal(syscall.SIGCONT) }

// Terminate sends SIGTERM and does not wait.
func (w *Worker) Terminate() error { return w.process.Signal(syscall.SIGTERM) }

// Term sends SIGTERM, waits for at most grace, and then kills. It returns the exit code, and
// an error when the worker had to be killed.
func (w *Worker) Term(grace time.Duration) (int, error) {
	byItself := w.process.Stop(grace)
	code, _ := w.process.ExitCode()
	if !byItself {
		return code, fmt.Errorf("worker %s did not end within %s of SIGTERM", w.name, grace)
	}
	return code, nil
}

// Wait waits until the worker has ended and returns its exit code: 128 and the signal when
// one ended it.
func (w *Worker) Wait(ctx context.Context) (int, error) {
	select {
	case <-w.process.Done():
		code, _ := w.process.ExitCode()
		return code, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("worker %s still runs: %w", w.name, ctx.Err())
	}
}

// LogTail returns the last n bytes of the worker's log.
func (w *Worker) LogTail(n int64) string { return tail(w.process.LogFile(), n) }

// LogFile is the path of the worker's log.
func (w *Worker) LogFile() string { return w.process.LogFile() }

func tail(file string, n int64) string { return process.Tail(file, n) }

// Ready asks /readyz. An error holds what the worker says is missing.
func (w *Worker) Ready(ctx context.Context) error {
	_, err := w.get(ctx, "/readyz")
	return err
}

// WaitReady waits until the worker is ready. It ends early with the log when the worker does.
func (w *Worker) WaitReady(ctx context.Context) error {
	for {
		err := w.Ready(ctx)
		if !w.process.Running() {
			code, _ := w.process.ExitCode()
			return fmt.Errorf("worker %s ended with code %d:\n%s", w.name, code, w.LogTail(2000))
		}
		if err == nil {
			return nil
		}
		if wait := sleep(ctx, 10*time.Millisecond); wait != nil {
			return fmt.Errorf("worker %s is not ready: %w", w.name, err)
		}
	}
}

// Metrics asks /metrics.
func (w *Worker) Metrics(ctx context.Context) (Metrics, error) {
	text, err := w.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	return parseMetrics(text)
}

func (w *Worker) get(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+path, nil)
	if err != nil {
		return "", err
	}
	request.Close = true // workers come and go
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", errors.New(strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
