package lag

import (
	"encoding/json"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
)

// Where KEDA asks: ReadingsPattern for the server, ReadingsPath in front of NAMESPACE/STAGE for who asks.
const (
	ReadingsPath    = "/autoscaling/"
	ReadingsPattern = "GET " + ReadingsPath + "{namespace}/{stage}"
)

// The members of an answer.
const (
	AnswerLag    = "lagEvents"
	AnswerWanted = "wantedWorkers"
)

// Readings answers for one stage that scales, in JSON: {"lagEvents":14213,"wantedWorkers":5}, the
// numbers of MetricLag and MetricWanted as they were measured last. What is not known is an error and never a number:
// 404 for a stage that is not there or does not scale, 503 while NATS cannot be asked. Who asks then leaves
// things as they are.
func (m *Meter) Readings() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("stage")}
		var stage v1alpha1.Stage
		err := m.Client.Get(r.Context(), name, &stage)
		if apierrors.IsNotFound(err) || err == nil && !scales(&stage) {
			http.Error(w, "no stage "+name.String()+" whose workers follow its lag", http.StatusNotFound)
			return
		}
		var reading Reading
		if err == nil {
			reading, err = m.fresh(name)
		}
		if err != nil {
			http.Error(w, "the lag of stage "+name.String()+" is not known: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]json.Number{ // who asked has gone
			AnswerLag: json.Number(strconv.FormatInt(reading.Lag, 10)), AnswerWanted: json.Number(strconv.Itoa(int(reading.Wanted.Workers))),
		})
	})
}
