package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// tryAgain is how soon what failed is tried again.
	tryAgain = 500 * time.Millisecond
	// patience bounds one look.
	patience = 10 * time.Second
)

// check looks at one thing. look says in words what it found; its error says what is wrong and what to
// do.
type check struct {
	name string
	look func(context.Context) (found string, err error)
}

// finalError is a failure that no further look will mend.
type finalError struct{ error }

func (f finalError) Unwrap() error { return f.error }

// run looks at everything, even after a failure, and prints a line for each; what fails is tried again for so
// long. The error says how many failed.
func run(ctx context.Context, out io.Writer, checks []check, timeout time.Duration) error {
	failed := 0
	for _, c := range checks {
		found, err := again(ctx, timeout, c.look)
		verdict := "ok"
		if err != nil {
			verdict, found = "FAIL", err.Error()
			failed++
		}
		if _, err := fmt.Fprintf(out, "%-4s  %-11s  %s\n", verdict, c.name, found); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(checks))
	}
	return nil
}

// again looks until it succeeds, the failure is final or the time is over: at least once.
func again(ctx context.Context, timeout time.Duration, look func(context.Context) (string, error)) (string, error) {
	over := time.NewTimer(timeout)
	defer over.Stop()
	for {
		found, err := once(ctx, look)
		if final := (finalError{}); err == nil || errors.As(err, &final) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-over.C:
			return "", err
		case <-time.After(tryAgain):
		}
	}
}

func once(ctx context.Context, look func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return look(ctx)
}
