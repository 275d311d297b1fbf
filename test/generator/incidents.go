package generator

import (
	"fmt"
	"math"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// When each incident begins, in seconds of the story.
const (
	oomRises    = 60.0
	oomKills    = 300.0
	nodeLost    = 150.0
	imageRolled = 200.0
	configSet   = 390.0
	spikeBegins = 450.0
	spikeEnds   = 480.0
	scaledUp    = 500.0
)

// leaky is how many pods of the workload with the leak leak.
const leaky = 8

func (s *script) incidents() {
	s.nodeNotReady()
	s.outOfMemory()
	s.badImage()
	s.badConfig()
	s.tooLarge()
}

// incidentSeries are the series that incidents show in. The spike is planted with them.
func (s *script) incidentSeries() []series {
	cart := s.cluster.workload("cart")
	var all []series
	for i, p := range cart.pods {
		one := s.memory(p)
		if i < leaky {
			one = s.leak(p, i)
		}
		all = append(all, one)
	}
	return append(all, s.spike())
}

// leak is memory that rises to the limit, falls with the kill, and rises again.
func (s *script) leak(p *pod, i int) series {
	base, limit := p.of.memory, p.of.memoryLimit
	killed := killTime(i)
	return series{about: p.ref(), name: memoryMetric, unit: "By", limit: limit, value: func(second float64) float64 {
		level := base
		switch {
		case second >= killed:
			level = base * (0.6 + 0.4*min((second-killed)/60, 1))
		case second > oomRises:
			level = base + (limit*0.985-base)*(second-oomRises)/(killed-oomRises)
		}
		return math.Round(min(level*(1+0.01*s.noise()), limit))
	}}
}

func killTime(i int) float64 { return oomKills + 6*float64(i) }

// spike is a series of latencies with half a minute far out of its range.
func (s *script) spike() series {
	ledger := s.cluster.workload("ledger")
	one := s.latency(ledger)
	one.every = spikePeriod
	usual := one.value
	one.value = func(second float64) float64 {
		if second >= spikeBegins && second < spikeEnds {
			return round(ledger.latency * (22 + 3*s.noise()))
		}
		return usual(second)
	}
	return one
}

// plantSpike notes the incident once the samples are there.
func (s *script) plantSpike() {
	ledger := s.cluster.workload("ledger")
	in := &Incident{
		Kind: "latency-spike", Summary: "the 95th percentile of ledger's request durations is about 22 times its usual value for 30 s",
		Root: entity(ledger.ref()), Workload: entity(ledger.ref()), Types: []string{"metric.sample"},
		Series: []string{subject(ledger.ref()) + "/" + latencyMetric},
		Start:  s.at(spikeEnds), End: s.start,
	}
	for _, e := range s.events {
		at := time.Unix(0, int64(e.GetTimeUnixNano())).UTC()
		if e.GetEntity().GetUid() != ledger.uid || e.GetMetric().GetValue() < 5*ledger.latency {
			continue
		}
		if in.RootEvent == "" {
			in.RootEvent = e.GetId()
		}
		in.Start, in.End = earlier(in.Start, at), later(in.End, at)
		in.Events = append(in.Events, e.GetId())
	}
	s.planted = append(s.planted, in)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// outOfMemory: pods of cart reach their limit one after the other, and frontend, which calls
// cart, gets errors.
func (s *script) outOfMemory() {
	cart, frontend := s.cluster.workload("cart"), s.cluster.workload("frontend")
	s.plant("oom", "memory of cart's pods rises to the limit; they are killed, restarted and backed off, and frontend gets errors from service cart",
		cart.ref(), cart.ref(), func(in *Incident) {
			in.Affected = append(in.Affected, entity(cart.serviceRef()), entity(frontend.ref()))
			for i, p := range cart.pods[:leaky] {
				in.Series = append(in.Series, subject(p.ref())+"/"+memoryMetric)
				killed := s.killForMemory(p, killTime(i), 1)
				if i == 0 {
					in.RootEvent = killed.GetId()
				}
				s.killForMemory(p, killTime(i)+40, 2)
				s.backOff(p, killTime(i)+42, 2)
			}
			for i := range 90 {
				s.failedCall(oomKills+3+1.5*float64(i)+0.4*s.noise(), frontend.pods[(i*7)%len(frontend.pods)], cart)
			}
		})
}

// killForMemory is one kill and restart of a pod's container.
func (s *script) killForMemory(p *pod, second float64, times int64) *eventv1.Event {
	container := text("k8s.container.name", p.of.name)
	killed := s.podState(s.at(second), "k8s.pod.oom_killed", event.SeverityError, p,
		fmt.Sprintf("container %s was killed for lack of memory (exit code 137)", p.of.name), number("k8s.container.exit_code", 137))
	killed.Resource = append(killed.Resource, container)
	restarted := s.podState(s.at(second+1.5), "k8s.pod.restarted", event.SeverityWarn, p,
		fmt.Sprintf("container %s has restarted, %d times by now, after it ended with OOMKilled (exit code 137)", p.of.name, times),
		text("k8s.container.status.last_terminated_reason", "OOMKilled"), number("k8s.container.exit_code", 137), number("k8s.container.restart_count", times))
	restarted.Resource = append(restarted.Resource, container)
	s.podState(s.at(second+0.5), "k8s.pod.not_ready", event.SeverityWarn, p, "containers with unready status: ["+p.of.name+"]",
		text("k8s.pod.condition.reason", "ContainersNotReady"))
	p.restarts = int(times)
	return killed
}

// backOff is what Kubernetes says while it waits to start a container again.
func (s *script) backOff(p *pod, second float64, times int64) {
	note := fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", p.of.name, p.name, p.of.namespace, p.uid)
	for i := range 2 {
		s.kubernetes(s.at(second+12*float64(i)), p.ref(), "Warning", "BackOff", "kubelet", note)
	}
	e := s.podState(s.at(second+0.5), "k8s.pod.crash_loop_back_off", event.SeverityError, p,
		fmt.Sprintf("container %s waits: back-off 20s restarting failed container=%s pod=%s_%s(%s)", p.of.name, p.of.name, p.name, p.of.namespace, p.uid),
		number("k8s.container.restart_count", times), text("k8s.container.status.reason", "CrashLoopBackOff"))
	e.Resource = append(e.Resource, text("k8s.container.name", p.of.name))
	p.reason = "CrashLoopBackOff"
}

// failedCall is a request that a service does not answer, and the line that its caller writes.
func (s *script) failedCall(second float64, caller *pod, to *workload) {
	t := s.newTrace()
	at := s.at(second)
	s.request(at, &t, caller, nil, "server", "/"+to.name, 1200*time.Millisecond, 502)
	span := s.request(at.Add(3*time.Millisecond), &t, caller, to, "client", "/api/"+to.name, 1100*time.Millisecond, 503)
	e := s.log(at.Add(1190*time.Millisecond), caller, event.SeverityError, "http.client", "ECONNREFUSED",
		fmt.Sprintf("call to http://%s.%s:%d/api/%s failed after 3 attempts: connection refused", to.name, to.namespace, to.port, to.name))
	e.TraceId, e.SpanId, e.TraceFlags = t.id, span.GetSpanId(), 1
}
