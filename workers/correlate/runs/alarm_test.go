package runs

import (
	"strings"
	"testing"
	"time"
)

// TestAlarm: an alarm of the web is explained by the service below it that is slow by itself, not by those between.
func TestAlarm(t *testing.T) {
	s := newShop(t, DefaultLimits)
	names := []string{"web", "cart", "stock", "mail"}
	row := func(latency map[string]float64) {
		s.idle(5 * time.Minute)
		for i, name := range names {
			v := 0.05 + 0.0005*float64(s.r.IntN(10))
			if latency[name] != 0 {
				v = latency[name]
			}
			s.c.Sample(s.service(name), "service.latency.average", v, s.at)
			s.c.Sample(s.service(name), "service.requests.sum", 100, s.at)
			if i > 0 {
				s.c.Span(&Span{Kind: Client, Service: s.service(names[min(i, 2)-1]), Peer: name, End: s.at})
			}
		}
	}
	for range 30 {
		row(nil)
	}
	if s.idle(time.Minute); len(s.news) > 0 {
		t.Fatalf("told without an alarm: %q", fingerprint(s.news))
	}
	slow := map[string]float64{"web": 0.40, "cart": 0.38, "stock": 0.35}
	row(slow)
	s.c.Alarm(Alarm{Service: s.service("web"), Metric: "latency", Statistic: "Average", At: s.at})
	s.c.Alarm(Alarm{Service: s.service("web"), Metric: "latency", Statistic: "Average", At: s.at + second}) // the same again
	row(slow)
	s.idle(time.Minute)
	if s.lead() != "stock" || len(s.news[0].Candidates) != 3 {
		t.Fatalf("found %q", fingerprint(s.news))
	}
	if text := s.news[0].Candidates[0].Evidence[0].Text; !strings.HasPrefix(text, "service.latency.average is 0.35, 0.05") {
		t.Errorf("text %q", text)
	}
	for range 14 {
		row(nil)
	}
	if last := s.news[len(s.news)-1]; last.Status != Closed || last.ID != s.news[0].ID || last.Alarm == nil || len(s.c.alarms) != 0 {
		t.Errorf("the end is %q", fingerprint(s.news[len(s.news)-1:]))
	}
	// What was slow during the alarm is no norm.
	x := s.c.bySeries[seriesKey{s.service("stock"), "service.latency.average"}]
	for _, v := range x.values {
		if v > 0.1 {
			t.Errorf("%g of the time of the alarm was learnt", v)
		}
	}
}

// TestAlarmsThatAreNone: an alarm about what nobody measures is not told.
func TestAlarmsThatAreNone(t *testing.T) {
	s := newShop(t, DefaultLimits)
	s.run(time.Minute, request{})
	s.c.Alarm(Alarm{Service: s.service("cart"), Metric: "saturation", At: s.at})
	s.c.Alarm(Alarm{Metric: "latency", At: s.at})
	s.c.Alarm(Alarm{Service: s.service("cart"), Metric: "latency", At: s.at})
	s.run(2*time.Minute, request{})
	s.idle(2 * time.Hour)
	s.idle(time.Minute)
	if len(s.news) > 0 || len(s.c.alarms) > 0 {
		t.Errorf("found %q", fingerprint(s.news))
	}
}

// TestAlarmsHaveIDsOfTheirOwn: two metrics of a service that alarm at the same time are two insights.
func TestAlarmsHaveIDsOfTheirOwn(t *testing.T) {
	s := newShop(t, DefaultLimits)
	for _, metric := range []string{latencyMetric, availabilityMetric} {
		s.c.raise(&Alarm{Service: s.service("cart"), Metric: metric, Statistic: defaultStatistic, At: begin})
	}
	if all := s.c.alarms; len(all) != 2 || all[0].id == all[1].id {
		t.Errorf("got %d alarms, of id %q", len(all), all[0].id)
	}
}

// TestFullQueue: without room the first value is counted at once, and the last one is not lost.
func TestFullQueue(t *testing.T) {
	limits := DefaultLimits
	limits.Waiting = 1
	s := newShop(t, limits)
	for n := range int64(5) {
		s.c.Gauge(s.service("cart"), Entity{Kind: "Pod", Name: "cart-1"}, "k8s.pod.cpu_limit_utilization", 0.5, begin+n*second)
	}
	if counted := s.c.gauges[0].ns.sum(); counted != 3 || len(s.c.queue.heap) != 2 || s.c.Counts().Waiting != 3 {
		t.Errorf("%v values are counted and %d wait, want 3 and 2; %d found no room", counted, len(s.c.queue.heap), s.c.Counts().Waiting)
	}
}
