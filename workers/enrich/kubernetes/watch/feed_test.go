package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"millrace.dev/millrace/test/harness"
)

func TestProblemOf(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"none":         {nil, ""},
		"expired":      {apierrors.NewResourceExpired("too old"), ""},
		"busy":         {apierrors.NewTooManyRequests("later", 1), ""},
		"ended":        {context.Canceled, ""},
		"forbidden":    {apierrors.NewForbidden(pods, "", errors.New("no")), "forbidden"},
		"unauthorized": {apierrors.NewUnauthorized("who"), "unauthorized"},
		"refused":      {errors.New("connection refused"), "unreachable"},
		"broken":       {apierrors.NewInternalError(errors.New("etcd")), "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := problemOf(tc.err); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// steps records what a feed delivers.
type steps chan string

func (s steps) Set(o any)    { s <- "set " + o.(*corev1.ConfigMap).Name + o.(*corev1.ConfigMap).Data["v"] }
func (s steps) Remove(o any) { s <- "remove " + o.(*corev1.ConfigMap).Name }

func (s steps) Replace(all []any) {
	var names []string
	for _, o := range all {
		names = append(names, o.(*corev1.ConfigMap).Name)
	}
	slices.Sort(names) // a streamed list comes in any order
	s <- "replace " + strings.Join(names, " ")
}

// A feed lists once, follows, and lists again when the server no longer knows its version.
func TestFeed(t *testing.T) {
	plane := harness.StartAPIServer(t)
	namespace := harness.NewNamespace(t, plane, nil)
	maps := plane.Client().CoreV1().ConfigMaps(namespace)
	create := func(name string) {
		t.Helper()
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("a")
	got := make(steps, 16)
	// The first watch is cut off, and its resumption is told that its version has expired.
	watches := 0
	var first apiwatch.Interface
	started, created := make(chan struct{}), make(chan struct{})
	feed := NewFeed(Resource{
		Name: "configmaps", Expected: &corev1.ConfigMap{},
		Strip: func(o any) { o.(*corev1.ConfigMap).ManagedFields = nil },
		List:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return maps.List(ctx, o) },
		Watch: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			watches++
			if watches == 2 {
				<-created // what happened meanwhile only a new list can tell
				return nil, apierrors.NewResourceExpired("too old resource version")
			}
			w, err := maps.Watch(ctx, o)
			if watches == 1 {
				first = w
				close(started)
			}
			return w, err
		},
	}, got, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		feed.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	want := func(steps ...string) {
		t.Helper()
		for _, step := range steps {
			select {
			case s := <-got:
				if diff := cmp.Diff(step, s); diff != "" {
					t.Fatalf("-want +got\n%s", diff)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s has not come", step)
			}
		}
	}
	want("replace a")
	create("b")
	want("set b")
	if _, err := maps.Update(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Data: map[string]string{"v": "2"}}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	want("set b2")
	if err := maps.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want("remove a")
	<-started
	first.Stop()
	create("c")
	close(created)
	want("replace b c")
	create("d")
	want("set d")
	if problem := feed.Problem(); problem != "" || !feed.HasSynced() {
		t.Errorf("problem: got %q, want none", problem)
	}
	if n := len(feed.Failures()); n != 0 {
		t.Errorf("failures: got %v", fmt.Sprint(feed.Failures()))
	}
}
