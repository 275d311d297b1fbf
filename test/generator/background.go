package generator

import (
	"fmt"
	"math"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// background fills the story up to n events with what a healthy cluster does.
func (s *script) background(n int) {
	for !s.full() {
		switch share := s.r.IntN(100); {
		case share < 16:
			s.requests(n)
		case share < 50:
			s.quietLog()
		case share < 70:
			s.flow()
		case share < 82:
			s.syscall()
		default:
			s.housekeeping()
		}
	}
}

// quiet is a pod that is there all the time and that no incident touches.
func (s *script) quiet() *pod {
	for {
		if p := pick(s.r, s.cluster.steady); p.deleting.IsZero() && p.restarts == 0 && p.on.name != lostNode {
			return p
		}
	}
}

// listening is such a pod of a given workload.
func (s *script) listening(w *workload) *pod {
	for {
		if p := pick(s.r, w.pods); p.created.Before(s.start) && p.deleting.IsZero() && p.restarts == 0 && p.on.name != lostNode {
			return p
		}
	}
}

// requests is one request through up to three services: a trace.
func (s *script) requests(n int) {
	p := s.quiet()
	if p.of.port == 0 {
		return
	}
	t := s.newTrace()
	at := s.anywhen()
	status, took := s.outcome(p.of)
	s.request(at, &t, p, nil, "server", "/"+p.of.name, took, status)
	for depth := 0; depth < 2 && len(p.of.calls) > 0 && len(s.events)+2 <= n; depth++ {
		to := pick(s.r, p.of.calls)
		if to.port == 0 {
			return
		}
		callee := s.listening(to)
		took = took * 6 / 10
		at = at.Add(took / 8)
		s.request(at, &t, p, to, "client", "/api/"+to.name, took, status)
		s.request(at.Add(took/20), &t, callee, nil, "server", "/api/"+to.name, took*9/10, status)
		p = callee
	}
}

// outcome is how a request ends; one in 500 fails for no reason.
func (s *script) outcome(w *workload) (status int64, took time.Duration) {
	status = 200
	switch {
	case s.chance(500):
		status = 500
	case s.chance(80):
		status = 404
	}
	usual := w.latency * math.Exp(0.5*s.r.NormFloat64()-0.5)
	return status, time.Duration(usual * float64(time.Millisecond))
}

var quietLines = []struct{ logger, line string }{
	{"http.server", "handled request %s in %d ms, 200 OK, %d bytes written to the client"},
	{"cache", "cache refresh of segment %s done: %d entries, %d evicted since the last refresh"},
	{"db.pool", "connection pool %s: %d connections in use, %d waiting, no timeouts"},
	{"scheduler", "job %s finished: %d items processed in %d ms without errors"},
	{"kafka.consumer", "committed offsets of group %s: partition %d at offset %d"},
	{"auth", "token of client %s renewed, valid for %d minutes, %d scopes granted"},
}

func (s *script) quietLog() {
	p := s.quiet()
	at := s.anywhen()
	switch {
	case s.chance(100):
		s.log(at, p, event.SeverityError, "http.client", "TimeoutError",
			fmt.Sprintf("request %s gave up after %d ms; the retry succeeded", hash32(p.name)[:6], 900+s.r.IntN(300)))
	case s.chance(15):
		s.log(at, p, event.SeverityWarn, "config", "", fmt.Sprintf("setting %q is deprecated and will go away in version 2 (line %d)", "legacy."+p.of.name, s.r.IntN(200)))
	default:
		line := pick(s.r, quietLines)
		e := s.log(at, p, event.SeverityInfo, line.logger, "", fmt.Sprintf(line.line, hash32(fmt.Sprint(s.r.Uint32()))[:8], s.r.IntN(400), s.r.IntN(100_000)))
		if s.chance(8) {
			e.TraceId, e.SpanId, e.TraceFlags = s.random(16), s.random(8), 1
		}
	}
}

func (s *script) flow() {
	p := s.quiet()
	if len(p.of.calls) == 0 {
		return
	}
	to := s.listening(pick(s.r, p.of.calls))
	if to.of.port == 0 {
		return
	}
	e := &eventv1.Event{
		Source: source + "nodes/" + p.on.name + "/ebpf", Type: "network.flow", Subject: p.ip + "->" + to.ip,
		Resource:   []*eventv1.KeyValue{text("k8s.cluster.name", "demo"), text("k8s.node.name", p.on.name)},
		Attributes: []*eventv1.KeyValue{text("network.io.direction", "transmit"), number("tcp.retransmits", int64(s.r.IntN(2)))},
		Signal: &eventv1.Event_Network{Network: &eventv1.Network{
			Protocol: "tcp", SourceIp: p.ip, SourcePort: uint32(32768 + s.r.IntN(28000)), DestinationIp: to.ip, DestinationPort: uint32(to.of.port),
			BytesSent: uint64(200 + s.r.IntN(5000)), BytesReceived: uint64(400 + s.r.IntN(90_000)), DurationNs: uint64(1e6 + s.r.IntN(2e8)),
		}},
	}
	if !s.chance(3) {
		e.Entity = p.ref()
	}
	s.add(s.anywhen(), severe(e, event.SeverityInfo))
}

func (s *script) syscall() {
	p := s.quiet()
	call := pick(s.r, []string{"openat", "connect", "execve", "accept4", "fsync", "unlinkat"})
	code := int64(0)
	if s.chance(60) {
		code = -2 // no such file: programs try several paths
	}
	s.add(s.anywhen(), severe(&eventv1.Event{
		Source: source + "nodes/" + p.on.name + "/ebpf", Type: "kernel.syscall", Subject: subject(p.ref()),
		Entity:   &eventv1.EntityRef{Kind: "Pod", Uid: p.uid},
		Body:     fmt.Sprintf("%s by %s returned %d", call, p.of.name, code),
		Resource: []*eventv1.KeyValue{text("k8s.cluster.name", "demo"), text("k8s.node.name", p.on.name)},
		Attributes: []*eventv1.KeyValue{
			text("process.executable.path", "/usr/bin/"+p.of.name), number("process.thread.id", int64(s.r.IntN(30000))),
		},
		Signal: &eventv1.Event_Kernel{Kernel: &eventv1.Kernel{Syscall: call, Pid: uint32(1000 + s.r.IntN(30000)), Uid: 65532, Command: p.of.name, ReturnCode: code}},
	}, event.SeverityInfo))
}

// housekeeping are the Events of a cluster in which nothing happens. Now and then a probe
// fails once.
func (s *script) housekeeping() {
	p := s.quiet()
	at := s.anywhen()
	switch pick := s.r.IntN(40); {
	case pick == 0:
		s.kubernetes(at, p.ref(), "Warning", "Unhealthy", "kubelet", fmt.Sprintf("Readiness probe failed: Get \"http://%s:%d/healthz\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)", p.ip, max(p.of.port, 8080)))
	case pick < 10:
		s.kubernetes(at, p.on.ref(), "Normal", "NodeHasSufficientMemory", "kubelet", "Node "+p.on.name+" status is now: NodeHasSufficientMemory")
	case pick < 20:
		s.kubernetes(at, p.ref(), "Normal", "Pulled", "kubelet", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", p.of.image))
	case pick < 30:
		s.kubernetes(at, p.of.ref(), "Normal", "LeaderElection", p.of.name, fmt.Sprintf("%s_%s renewed the lease as leader of %s", p.name, p.uid, p.of.name))
	default:
		s.kubernetes(at, p.ref(), "Normal", "SuccessfulMountVolume", "kubelet", fmt.Sprintf("MountVolume.SetUp succeeded for volume \"kube-api-access-%s\"", suffix(p.name, 1)))
	}
}
