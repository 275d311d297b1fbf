package harness

import (
	"testing"

	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/node"
)

// StartNode starts a node agent on a control plane: pods then run as
// processes of this machine. Options.Config is set from the control plane.
// The end of each container's log is printed when the test has failed.
func StartNode(t testing.TB, c *kube.ControlPlane, options node.Options) *node.Agent {
	t.Helper()
	options.Config = c.Config()
	a, err := node.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("container logs:\n%s", a.Logs(logTail))
			a.Kill()
			return
		}
		a.Stop()
	})
	return a
}
