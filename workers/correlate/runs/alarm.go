package runs

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	// maxValues is how many values a series has as its norm.
	maxValues = 288
	// maxFresh values of a series are not yet part of it.
	maxFresh = 64
	// alarmLead is how far before an alarm what it is about may show, and alarmLasts how long after it what comes in is looked at.
	alarmLead  = int64(5 * time.Minute)
	alarmLasts = int64(25 * time.Minute)
	// alarmCloses is when an alarm is over.
	alarmCloses = int64(time.Hour)
	// settles is how old a value is when it becomes part of the norm: an alarm comes later than what it is about.
	settles = int64(10 * time.Minute)
	// unusual is the deviation from which a service is walked through, and certain the one that counts in full.
	unusual, certain = 4.0, 20.0
	// visible is the deviation of the service of an alarm at which the alarm is two thirds to be seen in its metric.
	visible = 5.0
	// maxAlarms are looked at, at once.
	maxAlarms = 256
	// seriesLive is how long a series is kept without values.
	seriesLive = int64(25 * time.Hour)
)

// Prefix is what the names of the metrics of a service begin with: service.latency.<statistic>, service.requests.sum,
// service.availability.<statistic>.
const Prefix = "service."

const (
	latencyMetric      = "latency"
	availabilityMetric = "availability"
	requestsMetric     = "service.requests.sum"
	defaultStatistic   = "average"
)

type seriesKey struct {
	service *Service
	metric  string
}

// series are the values of a metric of a service.
type series struct {
	seriesKey
	sequence int64
	values   []float64 // the norm
	next     int       // where the next value goes when there are maxValues
	fresh    []sample
	seen     int64
}

type sample struct {
	at int64
	v  float64
}

// Alarm is that an objective of a service is violated.
type Alarm struct {
	Service *Service
	// Metric is latency or availability, Statistic a part of the name of its series, such as p99. Empty = average.
	Metric, Statistic string
	At                int64 // Unix nanoseconds
}

type alarm struct {
	Alarm
	id       string
	revision uint32
	told     string // the lead, with how sure
	last     int64
	result   []Candidate
}

// Sample takes a value of a metric of a service. Its texts may be memory of an event.
func (c *Core) Sample(s *Service, metric string, v float64, at int64) {
	if s == nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	c.arrives(at)
	x, ok := c.bySeries[seriesKey{s, metric}]
	if !ok {
		if len(c.series) >= c.limits.Series {
			c.counts.Series++
			return
		}
		c.sequence++
		x = &series{seriesKey: seriesKey{s, strings.Clone(metric)}, sequence: c.sequence}
		c.series = append(c.series, x)
		c.bySeries[x.seriesKey] = x
	}
	x.seen = c.latest
	c.enqueue(queued{at: at, series: x, value: v})
}

// sample takes a value of a series whose time has come.
func (c *Core) sample(x *series, v float64, at int64) {
	x.fresh = append(x.fresh, sample{at, v})
	x.settle(c)
	c.sampled = true
}

// settle makes values part of the norm that are old enough, but those of the time of an alarm.
func (x *series) settle(c *Core) {
	n := 0
	for n < len(x.fresh) && (x.fresh[n].at < c.now-settles || len(x.fresh)-n > maxFresh) {
		of, looking := c.alarmed(x.fresh[n].at)
		if looking && len(x.fresh)-n <= maxFresh {
			break
		}
		if !of {
			x.learn(x.fresh[n].v)
		}
		n++
	}
	x.fresh = slices.Delete(x.fresh, 0, n)
}

func (x *series) learn(v float64) {
	if len(x.values) < maxValues {
		x.values = append(x.values, v)
		return
	}
	x.values[x.next] = v
	x.next = (x.next + 1) % maxValues
}

// alarmed says whether a time is that of an alarm, and whether what comes in is still looked at for it.
func (c *Core) alarmed(at int64) (of, looking bool) {
	for _, a := range c.alarms {
		if at >= a.At-alarmLead && at <= a.At+alarmLasts {
			of = true
			looking = looking || c.now <= a.At+alarmLasts+2*pane
		}
	}
	return of, looking
}

// Alarm asks for the cause of an alarm. The same alarm again is no other one.
func (c *Core) Alarm(a Alarm) {
	if a.Service == nil || a.Metric != latencyMetric && a.Metric != availabilityMetric {
		return
	}
	a.Metric, a.Statistic = strings.Clone(a.Metric), strings.ToLower(a.Statistic)
	if a.Statistic == "" {
		a.Statistic = defaultStatistic
	}
	a.Statistic = strings.Clone(a.Statistic)
	c.enqueue(queued{at: a.At, alarm: &a})
}

// raise takes an alarm whose time has come.
func (c *Core) raise(a *Alarm) {
	for _, x := range c.alarms {
		if x.Service == a.Service && x.Metric == a.Metric && a.At <= x.At+alarmLasts && a.At >= x.At-alarmLead {
			return
		}
	}
	if len(c.alarms) >= maxAlarms {
		c.alarms = slices.Delete(c.alarms, 0, 1)
		c.counts.Series++
	}
	c.alarms = append(c.alarms, &alarm{Alarm: *a, id: c.name(a.Service, a.At, a.Metric)})
	c.sampled = true
}

// reviewAlarms looks for causes where there are new values, and ends alarms.
func (c *Core) reviewAlarms() {
	at := (c.paneNow + 1) * pane
	if c.sampled {
		for _, a := range c.alarms {
			if at <= a.At+alarmLasts+pane {
				c.explain(a, at)
			}
		}
		c.sampled = false
	}
	c.alarms = slices.DeleteFunc(c.alarms, func(a *alarm) bool {
		if at < a.At+alarmCloses {
			return false
		}
		if a.revision > 0 {
			c.tellAlarm(a, at, Closed)
		}
		return true
	})
}

// deviation is how a metric of a service differs from what is usual.
type deviation struct {
	z       float64 // in robust standard deviations, for the worse
	harm    float64 // requests times what each lost
	value   float64
	median  float64
	name    string
	service *Service
}

// deviates compares the values since shortly before an alarm with the norm.
func (c *Core) deviates(s *Service, a *alarm) (d deviation, ok bool) {
	x := c.seriesOf(s, a)
	if x == nil {
		return d, false
	}
	norm := slices.Clone(x.values)
	var since []float64
	for _, f := range x.fresh {
		switch {
		case f.at >= a.At-alarmLead:
			since = append(since, f.v)
		default:
			if of, _ := c.alarmed(f.at); !of {
				norm = append(norm, f.v)
			}
		}
	}
	if len(norm) < 5 || len(since) == 0 {
		return d, false
	}
	med := median(norm)
	for i, v := range norm {
		norm[i] = math.Abs(v - med)
	}
	sign, floor := 1.0, 0.02*math.Abs(med)
	if a.Metric == availabilityMetric {
		sign, floor = -1, 0.05
	}
	spread := max(1.4826*median(norm), floor)
	if spread <= 0 {
		return d, false
	}
	worst, mean := math.Inf(-1), 0.0
	for _, v := range since {
		worst = max(worst, sign*v)
		mean += sign * v / float64(len(since))
	}
	by := (worst+mean)/2 - sign*med
	return deviation{z: by / spread, harm: c.requests(s, a) * by, value: sign*(worst+mean)/2 + 0, median: med, name: x.metric, service: s}, true
}

// seriesOf is the series that an alarm is about, of a service that may have its average only.
func (c *Core) seriesOf(s *Service, a *alarm) *series {
	for _, statistic := range [...]string{a.Statistic, defaultStatistic} {
		if x := c.bySeries[seriesKey{s, Prefix + a.Metric + "." + statistic}]; x != nil {
			return x
		}
	}
	return nil
}

// requests is how many a service handles in a row, since shortly before an alarm.
func (c *Core) requests(s *Service, a *alarm) float64 {
	x := c.bySeries[seriesKey{s, requestsMetric}]
	if x == nil {
		return 1
	}
	n, sum := 0.0, 0.0
	for _, f := range x.fresh {
		if f.at >= a.At-alarmLead {
			n++
			sum += f.v
		}
	}
	if n == 0 {
		return 1
	}
	return sum / n
}

func median(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// explain walks from the service of an alarm over unusual services that it calls.
func (c *Core) explain(a *alarm, at int64) {
	first, ok := c.deviates(a.Service, a)
	if !ok {
		return
	}
	reached := []deviation{first}
	c.visit++
	a.Service.visited = c.visit
	var found []Candidate
	for i := 0; i < len(reached); i++ {
		d := reached[i]
		lower := 0.0
		for _, l := range d.service.out {
			if l.to == nil || l.to == d.service {
				continue
			}
			if below, ok := c.deviates(l.to, a); ok && below.z >= unusual {
				lower += max(0, below.harm)
				if l.to.visited != c.visit {
					l.to.visited = c.visit
					reached = append(reached, below)
				}
			}
		}
		if score := d.score(first, lower); score > 0 {
			if i == 0 {
				score /= 2
			}
			found = append(found, Candidate{Service: d.service, Weight: score, Evidence: []Evidence{{
				Kind: "metric", Weight: d.z, At: at,
				Text: fmt.Sprintf("%s is %.4g, %.4g before (%.1f robust standard deviations); %.0f %% of it is its own", d.name, d.value, d.median, d.z, 100*d.own(lower)),
			}}})
		}
	}
	if len(found) == 0 {
		return
	}
	slices.SortStableFunc(found, func(x, y Candidate) int {
		return cmp.Or(cmp.Compare(y.Weight, x.Weight), cmp.Compare(y.Evidence[0].Weight, x.Evidence[0].Weight), // whose deviations count in full: the larger one
			cmp.Compare(x.Service.sequence, y.Service.sequence))
	})
	found = found[:min(len(found), maxCandidates)]
	for i := range found {
		against := found[0].Weight
		if i == 0 {
			against = 0
			if len(found) > 1 {
				against = found[1].Weight
			}
		}
		found[i].Confidence = found[i].Weight / (found[i].Weight + against) * min(1, 0.5+found[i].Weight) * (1 - math.Exp(-max(0, first.z)/visible))
	}
	a.last, a.result = at, found
	told := fmt.Sprintf("%d %.1f", found[0].Service.sequence, found[0].Confidence)
	if told != a.told {
		a.told = told
		c.tellAlarm(a, at, Updated)
	}
}

// own is the share of the harm that no unusual service below explains.
func (d *deviation) own(lower float64) float64 {
	if d.harm <= 0 {
		return 0
	}
	return max(0, d.harm-0.8*lower) / d.harm
}

func (d *deviation) score(first deviation, lower float64) float64 {
	share := 1.0
	if first.harm > 0 {
		share = min(1, max(0, d.harm)/first.harm)
	}
	return min(1, max(0, d.z)/certain) * (0.05 + d.own(lower)) * (0.1 + share)
}

func (c *Core) tellAlarm(a *alarm, at int64, status string) {
	if a.revision++; a.revision == 1 {
		status = Open
	}
	asked := a.Alarm
	c.news = append(c.news, &Finding{
		ID: a.id, Status: status, Revision: a.revision, Opened: a.At, At: at, Last: a.last, Candidates: slices.Clone(a.result), Alarm: &asked,
	})
}
