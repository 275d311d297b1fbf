//go:build e2e

package e2e

import "testing"

// together says that a test may run beside others, each of which mostly waits: in `make e2e` it does.
func together(t *testing.T) { t.Parallel() }
