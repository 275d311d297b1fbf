package rigtest_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
)

// noted takes down the errors of a test instead of failing it.
type noted struct {
	testing.TB
	errors []string
}

func (n *noted) Errorf(format string, args ...any) {
	n.errors = append(n.errors, fmt.Sprintf(format, args...))
}

// TestCheckRights: what a worker may not do is found in the log of the server.
func TestCheckRights(t *testing.T) {
	r := rigtest.StartRestricted(t.Context(), t, "default.observability", rig.Options{
		Manifest: "../../../config/samples/observability.yaml", Dir: t.TempDir(), Binary: harness.BuildBinary(t, harness.BuildOptions{}),
	})
	rigtest.CheckRights(t, r.Server())
	const user = "default.observability.validate"
	conn, err := nats.Connect(r.URL(), nats.UserInfo(user, rigtest.Password(user)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := errors.Join(conn.Publish("of.somebody.else", nil), conn.Flush()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		found := &noted{TB: t}
		if rigtest.CheckRights(found, r.Server()); len(found.errors) != 1 {
			return fmt.Errorf("found %q", found.errors)
		}
		return nil
	})
}
