package lag

import (
	"encoding/json"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	external "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
)

// The metrics. Each has one value for a stage, with the labels millrace.dev/pipeline and
// millrace.dev/stage.
const (
	// MetricLag is the number of events stored and not yet acknowledged by a stage.
	MetricLag = "millrace_stage_lag_events"
	// MetricWanted is the number of workers that the load of a stage calls for, within its bounds.
	MetricWanted = "millrace_stage_wanted_workers"
)

const (
	groupPath   = "/apis/" + external.GroupName
	versionPath = groupPath + "/v1beta1"
)

// api answers requests that were let in.
func (s *Server) api(p *permissions) http.Handler {
	mux := http.NewServeMux()
	version := metav1.GroupVersionForDiscovery{GroupVersion: external.SchemeGroupVersion.String(), Version: "v1beta1"}
	group := metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: external.GroupName,
		Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
	}
	mux.HandleFunc("GET /apis", answer(metav1.APIGroupList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{group},
	}))
	mux.HandleFunc("GET "+groupPath, answer(group))
	mux.HandleFunc("GET "+versionPath, answer(metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: external.SchemeGroupVersion.String(),
		APIResources: []metav1.APIResource{resourceOf(MetricLag), resourceOf(MetricWanted)},
	}))
	mux.HandleFunc("GET "+versionPath+"/namespaces/{namespace}/{metric}", permitted(p, s.values))
	return mux
}

func resourceOf(metric string) metav1.APIResource {
	return metav1.APIResource{Name: metric, Namespaced: true, Kind: "ExternalMetricValueList", Verbs: metav1.Verbs{"get"}}
}

// values answers with the metric of the selected stages. It never answers with nothing: an autoscaler
// would take no value for an error of ours, and a guess for the truth.
func (s *Server) values(w http.ResponseWriter, r *http.Request) {
	namespace, metric := r.PathValue("namespace"), r.PathValue("metric")
	if metric != MetricLag && metric != MetricWanted {
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Group: external.GroupName, Resource: metric}, metric))
		return
	}
	selector, err := k8slabels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		refuse(w, apierrors.NewBadRequest(fmt.Sprintf("labelSelector: %v", err)))
		return
	}
	readings, err := s.Meter.Read(r.Context(), namespace, selector)
	if err != nil {
		refuse(w, apierrors.NewServiceUnavailable(err.Error()))
		return
	}
	list := external.ExternalMetricValueList{
		TypeMeta: metav1.TypeMeta{Kind: "ExternalMetricValueList", APIVersion: external.SchemeGroupVersion.String()},
		Items:    []external.ExternalMetricValue{},
	}
	for _, reading := range readings {
		if value, ok := valueOf(metric, reading); ok {
			list.Items = append(list.Items, value)
		}
	}
	if len(list.Items) == 0 {
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Group: external.GroupName, Resource: metric},
			fmt.Sprintf("of a stage in namespace %s with labels %q", namespace, selector)))
		return
	}
	answer(list)(w, r)
}

// valueOf is a metric of one stage; ok is false when the stage has none of this name.
func valueOf(metric string, r Reading) (value external.ExternalMetricValue, ok bool) {
	n := r.Lag
	if metric == MetricWanted {
		n = int64(r.Wanted.Workers)
	}
	return external.ExternalMetricValue{
		MetricName: metric, MetricLabels: r.Labels, Timestamp: metav1.NewTime(r.At),
		Value: *resource.NewQuantity(n, resource.DecimalSI),
	}, metric == MetricLag || r.Scales
}

func answer(object any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, object) }
}

func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	write(w, int(status.Code), status)
}

func write(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object) // who asked has gone
}
