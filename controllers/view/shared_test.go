package view

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSharedAnswers: ten that ask the same cost one reading, another question has an answer of its own, and what is old is asked anew.
func TestSharedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared[int64](2 * time.Second)
		var asked atomic.Int64
		get := func(question string) int64 {
			n, err := s.get(t.Context(), question, func(context.Context) (int64, error) {
				time.Sleep(time.Second)
				return asked.Add(1), nil
			})
			if err != nil {
				t.Error(err)
			}
			return n
		}
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				if n := get("a"); n != 1 {
					t.Errorf("answer %d", n)
				}
			})
		}
		group.Wait()
		time.Sleep(time.Second)
		if n := get("a"); n != 1 {
			t.Errorf("within the time that it is kept: answer %d", n)
		}
		if n := get("b"); n != 2 {
			t.Errorf("another question: answer %d", n)
		}
		time.Sleep(2 * time.Second)
		if n := get("a"); n != 3 {
			t.Errorf("later: answer %d", n)
		}
		time.Sleep(3 * time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.all) > 0 {
			t.Errorf("%d answers are kept for nobody", len(s.all))
		}
	})
}

// TestSharedAnswerEndsWithItsLastCaller: one that leaves takes nothing from the others, the last one ends the reading, and no error is kept.
func TestSharedAnswerEndsWithItsLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared[int](time.Hour)
		ended := make(chan error, 2)
		ask := func(ctx context.Context) (int, error) {
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
				return 0, ctx.Err()
			case <-time.After(3 * time.Second):
				return 7, nil
			}
		}
		first, leave := context.WithCancel(t.Context())
		stays := make(chan int)
		go func() {
			_, err := s.get(first, "a", ask)
			ended <- err
		}()
		synctest.Wait()
		go func() {
			n, err := s.get(t.Context(), "a", ask)
			if err != nil {
				t.Error(err)
			}
			stays <- n
		}()
		synctest.Wait()
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		if n := <-stays; n != 7 {
			t.Errorf("who stays got %d", n)
		}
		alone, leave := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			leave()
		}()
		if _, err := s.get(alone, "b", ask); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the reading ended with %v", err)
		}
		broken := errors.New("broken")
		for range 2 {
			if _, err := s.get(t.Context(), "c", func(context.Context) (int, error) { return 0, broken }); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
		}
		if n, err := s.get(t.Context(), "c", func(context.Context) (int, error) { return 1, nil }); n != 1 || err != nil {
			t.Errorf("after an error: %d, %v", n, err)
		}
	})
}
