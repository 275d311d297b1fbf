package lag

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// reviewer is an API server that says who may read what, and the reviews that it was asked for.
type reviewer struct {
	*permissions
	asked []authorizationv1.SubjectAccessReviewSpec
}

// review makes one that lets alice read metrics of namespace shop, and fails when err is set.
func review(err error) *reviewer {
	r := &reviewer{}
	clientset := fake.NewClientset()
	clientset.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		r.asked = append(r.asked, review.Spec)
		review.Status.Allowed = review.Spec.User == "alice" && review.Spec.ResourceAttributes.Namespace == "shop"
		return true, review, err
	})
	r.permissions = newPermissions(clientset)
	return r
}

// proxied is who the front proxy says that asks; it is not the front proxy when the name is empty, and its certificate is bad when err is set.
func proxied(name string, err error) authenticator.Request {
	return authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{
			Name: name, UID: "7", Groups: []string{"readers"}, Extra: map[string][]string{"scope": {"all"}},
		}}, name != "", err
	})
}

// TestWhoMayReadMetrics: only what the front proxy sends, and only for users whom the API server lets. Discovery is for everybody that it sends.
func TestWhoMayReadMetrics(t *testing.T) {
	const metric = versionPath + "/namespaces/shop/" + MetricLag
	for name, test := range map[string]struct {
		proxy authenticator.Request
		err   error
		path  string
		want  int
		says  string
	}{
		"not the front proxy":                 {proxied("", nil), nil, metric, http.StatusUnauthorized, "aggregation layer"},
		"a bad certificate":                   {proxied("alice", errors.New("bad")), nil, metric, http.StatusUnauthorized, "aggregation layer"},
		"discovery, not by the front proxy":   {proxied("", nil), nil, versionPath, http.StatusUnauthorized, "aggregation layer"},
		"discovery, by a user without rights": {proxied("bob", nil), nil, versionPath, http.StatusOK, MetricLag},
		"a user without rights":               {proxied("bob", nil), nil, metric, http.StatusForbidden, `user \"bob\" may not read it`},
		"a user with rights elsewhere":        {proxied("alice", nil), nil, strings.Replace(metric, "shop", "other", 1), http.StatusForbidden, `user \"alice\" may not read it`},
		"the API server does not answer":      {proxied("alice", nil), errors.New("busy"), metric, http.StatusInternalServerError, "system:auth-delegator"},
		"a user with rights":                  {proxied("alice", nil), nil, metric, http.StatusOK, "the values"},
	} {
		t.Run(name, func(t *testing.T) {
			p := review(test.err).permissions
			mux := http.NewServeMux()
			mux.HandleFunc("GET "+versionPath, answer(metav1.APIResourceList{APIResources: []metav1.APIResource{resourceOf(MetricLag)}}))
			mux.HandleFunc("GET "+versionPath+"/namespaces/{namespace}/{metric}", permitted(p, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("the values")) }))
			got := httptest.NewRecorder()
			guard(test.proxy, mux).ServeHTTP(got, httptest.NewRequest(http.MethodGet, test.path, nil))
			if got.Code != test.want || !strings.Contains(got.Body.String(), test.says) {
				t.Errorf("got %d %s, want %d and %q", got.Code, got.Body, test.want, test.says)
			}
			if test.want >= http.StatusBadRequest {
				var status metav1.Status
				if err := json.Unmarshal(got.Body.Bytes(), &status); err != nil || status.Kind != "Status" || int(status.Code) != test.want {
					t.Errorf("the answer is no Status of the API: %v %s", err, got.Body)
				}
			}
		})
	}
}

// TestNobodyAsks: what is served without the guard is served to nobody.
func TestNobodyAsks(t *testing.T) {
	got := httptest.NewRecorder()
	s := &Server{}
	s.api(review(nil).permissions).ServeHTTP(got, httptest.NewRequest(http.MethodGet, versionPath+"/namespaces/shop/"+MetricLag, nil))
	if got.Code != http.StatusUnauthorized {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
}

// TestRightsAreAskedOnce: of a user, a namespace and a metric; a refusal is not remembered. All that is known of the user is asked about.
func TestRightsAreAskedOnce(t *testing.T) {
	r := review(nil)
	check := func(who user.Info, namespace, metric string, want bool) {
		t.Helper()
		if err := r.check(t.Context(), who, namespace, metric); (err == nil) != want {
			t.Errorf("%s may read %s of %s: %v, want %t", who.GetName(), metric, namespace, err, want)
		}
	}
	alice := &user.DefaultInfo{Name: "alice", UID: "7", Groups: []string{"readers"}, Extra: map[string][]string{"scope": {"all"}}}
	bob := &user.DefaultInfo{Name: "bob"}
	for _, step := range []struct {
		who               user.Info
		namespace, metric string
		may               bool
		asked             int
	}{
		{alice, "shop", MetricLag, true, 1},
		{alice, "shop", MetricLag, true, 1},
		{alice, "shop", MetricWanted, true, 2},
		{&user.DefaultInfo{Name: "alice"}, "shop", MetricLag, true, 3},
		{bob, "shop", MetricLag, false, 4},
		{bob, "shop", MetricLag, false, 5},
		{alice, "other", MetricLag, false, 6},
	} {
		check(step.who, step.namespace, step.metric, step.may)
		if len(r.asked) != step.asked {
			t.Errorf("%s, %s of %s: asked %d times, want %d", step.who.GetName(), step.metric, step.namespace, len(r.asked), step.asked)
		}
	}
	got := r.asked[0]
	if got.UID != "7" || len(got.Groups) != 1 || len(got.Extra["scope"]) != 1 || got.ResourceAttributes.Verb != "list" ||
		got.ResourceAttributes.Group != "external.metrics.k8s.io" || got.ResourceAttributes.Resource != MetricLag {
		t.Errorf("asked about %+v", got)
	}
}
