package correlate

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// together is how near to each other the same symptoms of several workloads must lie for a dependency that
// all of them name to be their cause.
const together = 30 * time.Second

// dependencySignals are the failures of a workload that may have kept those that call it from working, the likeliest
// first.
var dependencySignals = [...]signal{signalCrashLoop, signalOOM, signalImagePull, signalEviction, signalNotReady}

// dependencyOf is the address, host or host:port, that a symptom says it could not reach; empty = none. The address of
// a probe is that of the pod itself: no two workloads share it.
func dependencyOf(e *event.Event, s signal) string {
	if rules[s].class != symptom || s == signalErrorSpan || s == signalOther {
		return ""
	}
	if address, ok := e.Attribute("server.address"); ok && address.Text() != "" {
		if port, ok := e.Attribute("server.port"); ok {
			return elsewhere(address.Text() + ":" + port.Text())
		}
		return elsewhere(address.Text())
	}
	text := e.Body[:min(len(e.Body), maxSearched)]
	for _, marker := range [...]string{"lookup ", "dial tcp ", "dial udp ", "nats://", "postgres://", "postgresql://", "redis://", "amqp://", "mongodb://"} {
		if i := strings.LastIndex(text, marker); i >= 0 && (marker != "lookup " || resolves(text[i+len(marker):])) {
			if address := elsewhere(addressAt(text[i+len(marker):])); address != "" {
				return address
			}
		}
	}
	return ""
}

// resolves says whether what follows the word lookup is a host as resolvers write it: "x on 10.0.0.10:53", "x: no such
// host". Programs look up many other things.
func resolves(text string) bool {
	host, rest, _ := strings.Cut(text, " ")
	return strings.HasPrefix(rest, "on ") || strings.HasSuffix(host, ":") && strings.HasPrefix(rest, "no such host")
}

// maxSearched is how much of a text is searched for an address.
const maxSearched = 2 << 10

// addressAt is the address that a text begins with, without credentials.
func addressAt(text string) string {
	end := strings.IndexFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'`,;()<>/?", r) })
	if end >= 0 {
		text = text[:end]
	}
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		text = text[i+1:]
	}
	return strings.TrimRight(text, ".:")
}

// elsewhere is an address, unless it is one of the pod itself or none at all.
func elsewhere(address string) string {
	host := hostOf(address)
	if len(address) > maxName || host == "" || host == "localhost" || host == "tcp" {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err == nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return ""
	}
	return address
}

func hostOf(address string) string {
	if strings.HasPrefix(address, "[") {
		host, _, _ := strings.Cut(address[1:], "]")
		return host
	}
	if strings.Count(address, ":") == 1 {
		host, _, _ := strings.Cut(address, ":")
		return host
	}
	return address
}

// dependencyRef is what a person looks at: the Service that an address names, else the address.
func dependencyRef(address, namespace string) *eventv1.EntityRef {
	host := hostOf(address)
	if _, err := netip.ParseAddr(host); err == nil {
		return &eventv1.EntityRef{Kind: "Address", Name: address}
	}
	name, rest, dotted := strings.Cut(host, ".")
	ns, domain, _ := strings.Cut(rest, ".")
	switch {
	case !dotted:
		return &eventv1.EntityRef{Kind: "Service", Namespace: namespace, Name: name, ApiVersion: "v1"}
	case domain == "svc" || strings.HasPrefix(domain, "svc.") || domain == "":
		return &eventv1.EntityRef{Kind: "Service", Namespace: ns, Name: name, ApiVersion: "v1"}
	}
	return &eventv1.EntityRef{Kind: "Address", Name: address}
}

// address is the dependency that o names.
func (o *observation) address() string { return strings.TrimPrefix(o.keys[sameDependency], "d/") }

// names is the observation in the chain of causes of o that names a dependency.
func (o *observation) names() *observation {
	for range maxChain {
		if o == nil || o.keys[sameDependency] != "" {
			return o
		}
		o = o.cause
	}
	return nil
}

// share makes one incident of several workloads that show one symptom in one moment and name one dependency: that of the
// dependency itself, when it has one. A shared namespace, node or moment alone is not enough.
func (r *realtime) share(o *observation) {
	by := o.names()
	if by == nil {
		return
	}
	if by.cause == nil {
		if x, c := r.failedDependency(by); x != nil {
			r.link(by, x, c)
			return
		}
	}
	for x := range r.memory.of(by.keys[sameDependency], by.signal) {
		inc, other := o.incident.find(), x.incident.find()
		if other == nil || other == inc || x.home == by.home || abs(x.onset-by.onset) > int64(together) || differ(x.cluster, by.cluster) ||
			!other.takes(inc, o.time) || !slices.ContainsFunc(other.events, telling) {
			continue
		}
		for _, first := range [...]*observation{x, by} {
			if other.shared == nil || first.onset < other.shared.onset {
				other.shared = first
			}
		}
		r.merge(other, inc)
	}
}

// failedDependency is what keeps the Service that by names from answering.
func (r *realtime) failedDependency(by *observation) (*observation, cause) {
	ref := dependencyRef(by.address(), by.namespace)
	if ref.GetKind() != "Service" {
		return nil, cause{}
	}
	for _, s := range dependencySignals {
		c := cause{of: s, over: sameDependency, within: 0}
		for x := range r.memory.of("s/"+ref.GetName(), s) {
			if x.namespace == ref.GetNamespace() && !differ(x.cluster, by.cluster) && x.incident.find() != nil && r.reaches(c, x, by) {
				return x, c
			}
		}
	}
	return nil, cause{}
}
