package lifecycle

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

func TestFailuresLastUntilSomethingWorks(t *testing.T) {
	stage := func(name string, uid types.UID) *v1alpha1.Stage {
		return &v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: uid}}
	}
	var f failures
	begin := time.Unix(1_700_000_000, 0)
	at := func(s *v1alpha1.Stage, after, want time.Duration) {
		t.Helper()
		if got := f.lasting(s, begin.Add(after)); got != want {
			t.Errorf("%s %s after %s: got %s, want %s", s.Name, s.UID, after, got, want)
		}
	}
	a := stage("a", "1")
	at(a, 0, 0)
	at(a, 10*time.Second, 10*time.Second)
	at(stage("b", "2"), 20*time.Second, 0)
	f.forget(client.ObjectKeyFromObject(a))
	at(a, 30*time.Second, 0)
	at(a, 35*time.Second, 5*time.Second)
	at(stage("a", "3"), 40*time.Second, 0) // a successor of the same name
}
