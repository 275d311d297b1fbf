package kubernetes

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"

	"millrace.dev/millrace/test/harness"
)

// withoutNodes is a clientset that has no right to list and watch nodes.
type withoutNodes struct{ kubernetes.Interface }

func (w withoutNodes) CoreV1() typedcore.CoreV1Interface {
	return coreWithoutNodes{w.Interface.CoreV1()}
}

type coreWithoutNodes struct{ typedcore.CoreV1Interface }

func (c coreWithoutNodes) Nodes() typedcore.NodeInterface { return noNodes{c.CoreV1Interface.Nodes()} }

type noNodes struct{ typedcore.NodeInterface }

func (noNodes) List(context.Context, metav1.ListOptions) (*corev1.NodeList, error) {
	return nil, errForbidden
}

func (noNodes) Watch(context.Context, metav1.ListOptions) (apiwatch.Interface, error) {
	return nil, errForbidden
}

var errForbidden = apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("no"))

// Without the right to read nodes, what changes while the collector is away is found all the
// same; and nodes when the right is there.
func testMissingRight(t *testing.T, w *world) {
	w.createDeployment(t)
	time.Sleep(1100 * time.Millisecond) // it must be older than the first start, in seconds
	recent := func(o *Options) { o.History = time.Millisecond }
	denied := func(o *Options) { o.Clientset = withoutNodes{w.Interface} }
	stop := w.collect(t, recent, denied)
	harness.Eventually(t, 15*time.Second, func() error {
		kv, err := w.js.KeyValue(t.Context(), "millrace-collect")
		if err == nil {
			_, err = kv.Get(t.Context(), "test.head")
		}
		return err
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.patchDeployment(t, `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"registry.test/app:2"}]}}}}`)
	name := "node-" + w.namespace
	t.Cleanup(func() { _ = w.CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{}) })
	node, err := w.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready := func(status corev1.ConditionStatus, at int) {
		t.Helper()
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: seconds(at)}}
		if node, err = w.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ready(corev1.ConditionTrue, -1)
	stop = w.collect(t, recent, denied)
	changed := "k8s.deployment.image_changed Deployment/web x1"
	w.eventually(t, changed)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // the condition must be older than the first list of nodes
	stop = w.collect(t, recent)
	w.eventually(t, changed)
	ready(corev1.ConditionFalse, 1)
	want := []string{changed, "k8s.node.not_ready Node/" + name + " x1"}
	w.eventually(t, want...)
	// Now that nodes are known, nothing of them is history any more.
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	ready(corev1.ConditionTrue, 2)
	w.collect(t, recent)
	w.eventually(t, append(want, "k8s.node.ready Node/"+name+" x1")...)
}
