package view

import (
	"context"
	"sync"
	"time"
)

// shared answers the same question of several callers once: those that ask while an answer is looked for get that one, and so do those that ask within
// keep of it. Nobody changes an answer.
type shared[T any] struct {
	keep time.Duration

	mu  sync.Mutex
	all map[string]*answer[T]
}

type answer[T any] struct {
	done    chan struct{} // closed when there are value and err
	value   T
	err     error
	waiting int
	stop    context.CancelFunc
}

func newShared[T any](keep time.Duration) *shared[T] {
	return &shared[T]{keep: keep, all: map[string]*answer[T]{}}
}

// get returns the answer to a question. ask ends when no caller waits for it any more. An error is not kept.
func (s *shared[T]) get(ctx context.Context, question string, ask func(context.Context) (T, error)) (T, error) {
	s.mu.Lock()
	a := s.all[question]
	if a == nil {
		a = &answer[T]{done: make(chan struct{})}
		var asking context.Context
		asking, a.stop = context.WithCancel(context.WithoutCancel(ctx))
		s.all[question] = a
		go s.answer(asking, question, a, ask)
	}
	a.waiting++
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.waiting--; a.waiting == 0 {
		a.stop()
		s.forget(question, a)
	}
	var none T
	return none, ctx.Err()
}

func (s *shared[T]) answer(ctx context.Context, question string, a *answer[T], ask func(context.Context) (T, error)) {
	defer a.stop()
	a.value, a.err = ask(ctx)
	close(a.done)
	if a.err == nil && s.keep > 0 {
		time.AfterFunc(s.keep, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.forget(question, a)
		})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(question, a)
}

// forget has the next caller ask anew. The lock is held.
func (s *shared[T]) forget(question string, a *answer[T]) {
	if s.all[question] == a {
		delete(s.all, question)
	}
}
