package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// tryAgain is how soon what failed is tried again.
const tryAgain = 500 * time.Millisecond

// check looks at one thing. look says in words what it found; its error says what is wrong and what to
// do.
type check struct {
	name string
	look func(context.Context) (found string, err error)
}

// finalError is a failure that no further look will mend.
type finalError struct{ error }

func (f finalError) Unwrap() error { return f.error }

// run looks at everything, even after a failure, and prints a line for each. The error says how many
// failed.
func run(ctx context.Context, out io.Writer, checks []check) error {
	failed := 0
	for _, c := range checks {
		found, err := again(ctx, c.look)
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
func again(ctx context.Context, look func(context.Context) (string, error)) (string, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		found, err := look(ctx)
		if final := (finalError{}); err == nil || errors.As(err, &final) {
			return found, err
		}
		timer.Reset(tryAgain)
		select {
		case <-ctx.Done():
			return "", err
		case <-timer.C:
		}
	}
}
