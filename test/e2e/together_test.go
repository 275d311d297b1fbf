//go:build !e2e

package e2e

import "testing"

// together says that a test may run beside others: here they run one by one, beside those of other packages.
func together(testing.TB) {}
