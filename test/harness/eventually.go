package harness

import (
	"testing"
	"time"
)

// pollInterval of Eventually.
const pollInterval = 50 * time.Millisecond

// Eventually calls check until it returns nil, and fails the test with its
// last error when that takes longer than the timeout.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", timeout, err)
		}
		time.Sleep(pollInterval)
	}
}

// Consistently calls check for the whole duration and fails the test as soon
// as it returns an error.
func Consistently(t testing.TB, duration time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(duration); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
}
