package lag

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/scaling"
)

// TestGauges: only what is known now is shown.
func TestGauges(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	m := &Meter{Now: func() time.Time { return now }, known: map[types.NamespacedName]*entry{}}
	for name, r := range map[string]Reading{
		"orders-enrich": {At: now.Add(-2 * time.Second), Lag: 14_213, Scales: true, Wanted: scaling.Decision{Workers: 5}},
		"orders-fixed":  {At: now, Lag: 1},
		"orders-old":    {At: now.Add(-time.Minute), Lag: 1, Scales: true},
		"orders-away":   {At: now, Lag: 1, Scales: true, Err: errors.New("NATS is away")},
	} {
		r.Labels = labels.Selector("orders", strings.TrimPrefix(name, "orders-"))
		e := &entry{}
		e.newest.Store(&r)
		m.known[types.NamespacedName{Namespace: "shop", Name: name}] = e
	}
	m.known[types.NamespacedName{Namespace: "shop", Name: "orders-new"}] = &entry{}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewGauges(m))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var names []string
			for _, l := range metric.GetLabel() {
				names = append(names, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			got = append(got, fmt.Sprintf("%s{%s} %g", family.GetName(), strings.Join(names, ","), metric.GetGauge().GetValue()))
		}
	}
	const names = `{deployment="orders-enrich",deployment_namespace="shop",pipeline="shop/orders",stage="enrich"}`
	want := []string{"millrace_autoscaling_lag_events" + names + " 14213", "millrace_autoscaling_wanted_workers" + names + " 5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
