package enrich

import (
	"fmt"
	"math"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// band is a range of severity numbers that weigh the same.
type band int

// The bands. An event of severity INFO and below has no impact.
const (
	bandInfo band = iota
	bandWarn
	bandError
	bandFatal
	bands
)

func bandOf(severity int32) band {
	switch {
	case severity >= severityFatal:
		return bandFatal
	case severity >= severityError:
		return bandError
	case severity >= severityWarn:
		return bandWarn
	default:
		return bandInfo
	}
}

// weight is how much of the possible impact a severity stands for.
func (b band) weight() float64 { return [bands]float64{0, 0.4, 0.7, 1}[b] }

// The formula: score = weight(severity) * (0.4 share + 0.3 reach + 0.3 criticality).
//
// share is the part of a workload's pods that is affected, 0..1; reach grows with the
// logarithm of the affected pods and is 1 from 64 on; criticality is 1, 0.8, 0.6, 0.3 for
// service.criticality critical, high, medium, low and 0.5 when nobody says. The weights are a
// convention, written down so that a score can be recomputed; they are not learnt.
const (
	shareWeight       = 0.4
	reachWeight       = 0.3
	criticalityWeight = 0.3
	fullReach         = 64
)

func score(f *Facts, b band) float64 {
	s := shareWeight*min(f.Radius.Share, 1) + reachWeight*reach(f.Radius.Pods) + criticalityWeight*criticalityOf(f.Criticality)
	return math.Round(b.weight()*s*1000) / 1000
}

func reach(pods int) float64 {
	return min(1, math.Log2(1+float64(pods))/math.Log2(1+fullReach))
}

func criticalityOf(level string) float64 {
	switch level {
	case "critical":
		return 1
	case "high":
		return 0.8
	case "medium":
		return 0.6
	case "low":
		return 0.3
	default:
		return 0.5
	}
}

// level names a score.
func level(score float64) string {
	switch {
	case score >= 0.75:
		return "critical"
	case score >= 0.5:
		return "high"
	case score >= 0.25:
		return "medium"
	default:
		return "low"
	}
}

// impactOf is the impact of an event of the given severity about f. Below WARN it names the
// radius and gives no reasons: there is nothing to explain.
func impactOf(f *Facts, b band) *eventv1.Impact {
	s := score(f, b)
	impact := &eventv1.Impact{Score: s, Criticality: level(s), AffectedPods: uint32(f.Radius.Pods)}
	for _, service := range f.Services {
		impact.AffectedServices = append(impact.AffectedServices, valid(service.Namespace+"/"+service.Name))
	}
	if b > bandInfo {
		impact.Reasons = reasons(f)
	}
	return impact
}

// reasons say in plain words what the score rests on.
func reasons(f *Facts) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, valid(fmt.Sprintf(format, args...))) }
	of, r := f.Radius.ShareOf, f.Radius
	switch {
	case f.Entity.Kind == "Node" && of.Name != "":
		add("%d pods run on node %s, among them %d of %d of %s %s/%s", r.Pods, f.Entity.Name,
			int(math.Round(r.Share*float64(r.SharePods))), r.SharePods, of.Kind, of.Namespace, of.Name)
	case f.Entity.Kind == "Node":
		add("%d pods run on node %s", r.Pods, f.Entity.Name)
	case f.Pod != nil && of.Kind == "Pod":
		add("pod %s/%s stands alone: no workload replaces it", of.Namespace, of.Name)
	case f.Pod != nil && r.SharePods == 1:
		add("the only pod of %s %s/%s", of.Kind, of.Namespace, of.Name)
	case f.Pod != nil:
		add("1 of %d pods of %s %s/%s", r.SharePods, of.Kind, of.Namespace, of.Name)
	default:
		add("all %d pods of %s %s/%s", r.Pods, of.Kind, of.Namespace, of.Name)
	}
	for _, service := range f.Services {
		add("behind service %s/%s", service.Namespace, service.Name)
	}
	if f.Criticality != "" {
		add("service.criticality is %s", f.Criticality)
	}
	return all
}
