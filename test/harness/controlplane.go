package harness

import (
	"testing"

	"millrace.dev/millrace/test/harness/kube"
)

// logTail is how much of each log a failed test prints, in bytes.
const logTail = 4000

// StartControlPlane starts etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler, and stops them when the test ends. With
// Options.APIServerOnly the last two are left out. It takes about 3 s, so
// tests share one control plane where they can, with a namespace each.
//
// Missing binaries fail the test; `make controlplane` builds them. After a
// failed test the logs stay on disk and their folder is printed.
func StartControlPlane(t testing.TB, options kube.Options) *kube.ControlPlane {
	t.Helper()
	c, err := kube.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("control plane logs in %s:\n%s", c.LogDir(), c.Logs(logTail))
			c.Kill()
			return
		}
		c.Stop()
	})
	return c
}

// StartAPIServer starts only etcd and kube-apiserver: enough for CRDs, CEL
// rules and RBAC. See StartControlPlane.
func StartAPIServer(t testing.TB) *kube.ControlPlane {
	t.Helper()
	return StartControlPlane(t, kube.Options{APIServerOnly: true})
}
