package event

import (
	"millrace.dev/millrace/workers/event/internal/wire"
)

// Metric is one sample of a numeric series.
type Metric struct {
	Name  string
	Value float64
	Unit  string // UCUM
	Kind  string // gauge, counter or delta
}

// Log is where a log line came from.
type Log struct {
	Logger, ErrorType, StackTrace string
}

// KubernetesEvent has what an events.k8s.io/v1 Event says beyond its text and object.
type KubernetesEvent struct {
	Reason, Action, Type, ReportingController, ReportingInstance, UID string
}

// Network is one flow or request on the network.
type Network struct {
	Protocol                             string
	SourceIP, DestinationIP              string
	SourcePort, DestinationPort          uint32
	BytesSent, BytesReceived, DurationNs uint64
	StatusCode                           uint32
	Method, Path                         string
}

// Kernel is one system call.
type Kernel struct {
	Syscall    string
	PID, UID   uint32
	Command    string
	ReturnCode int64
}

// Span is one operation of a trace.
type Span struct {
	Name, Kind  string
	DurationNs  uint64
	Status      string // ok, error or unset
	PeerService string
}

// SignalName is the member name of the signal in JSON (metric, log, kubernetesEvent, ...);
// empty when there is none.
func (e *Event) SignalName() string {
	switch e.signal {
	case wire.FieldMetric:
		return "metric"
	case wire.FieldLog:
		return "log"
	case wire.FieldKubernetes:
		return "kubernetesEvent"
	case wire.FieldNetwork:
		return "network"
	case wire.FieldKernel:
		return "kernel"
	case wire.FieldSpan:
		return "span"
	case 30:
		return "insight"
	case 31:
		return "anomaly"
	case 32:
		return "trend"
	}
	return ""
}

// signalOf calls merge with every occurrence of signal num, and reset where another signal
// came between: of a oneof the last one stays. ok tells whether num is the one that is set.
func (e *Event) signalOf(num uint32, reset func(), merge func([]byte)) (ok bool) {
	if e.signal != num {
		return false
	}
	for i := 0; ; i++ {
		b, more := e.part(i, num)
		if !more {
			return true
		}
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Num < wire.FirstSignal || f.Num > wire.LastSignal || f.Wire != wire.BytesType:
			case f.Num == num:
				merge(f.V)
			default:
				reset()
			}
		}
	}
}

// Metric returns the sample; ok is false when the event carries none.
func (e *Event) Metric() (m Metric, ok bool) {
	ok = e.signalOf(wire.FieldMetric, func() { m = Metric{} }, func(b []byte) {
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.BytesType):
				m.Name = f.Text()
			case f.Is(2, wire.Fixed64Type):
				m.Value = f.Float()
			case f.Is(3, wire.BytesType):
				m.Unit = f.Text()
			case f.Is(4, wire.BytesType):
				m.Kind = f.Text()
			}
		}
	})
	return m, ok
}

// Log returns the origin of the log line; ok is false when the event carries none.
func (e *Event) Log() (l Log, ok bool) {
	ok = e.signalOf(wire.FieldLog, func() { l = Log{} }, func(b []byte) {
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.BytesType):
				l.Logger = f.Text()
			case f.Is(2, wire.BytesType):
				l.ErrorType = f.Text()
			case f.Is(3, wire.BytesType):
				l.StackTrace = f.Text()
			}
		}
	})
	return l, ok
}

// KubernetesReason returns the reason of a Kubernetes event; empty for other events.
func (e *Event) KubernetesReason() string {
	k, _ := e.KubernetesEvent()
	return k.Reason
}

// KubernetesEvent returns the Kubernetes event; ok is false when the event carries none.
func (e *Event) KubernetesEvent() (k KubernetesEvent, ok bool) {
	ok = e.signalOf(wire.FieldKubernetes, func() { k = KubernetesEvent{} }, func(b []byte) {
		f := wire.Fields{Rest: b}
		for f.Next() {
			if f.Wire != wire.BytesType {
				continue
			}
			switch f.Num {
			case 1:
				k.Reason = f.Text()
			case 2:
				k.Action = f.Text()
			case 3:
				k.Type = f.Text()
			case 4:
				k.ReportingController = f.Text()
			case 5:
				k.ReportingInstance = f.Text()
			case 6:
				k.UID = f.Text()
			}
		}
	})
	return k, ok
}

// Network returns the flow; ok is false when the event carries none.
func (e *Event) Network() (n Network, ok bool) {
	ok = e.signalOf(wire.FieldNetwork, func() { n = Network{} }, func(b []byte) {
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.BytesType):
				n.Protocol = f.Text()
			case f.Is(2, wire.BytesType):
				n.SourceIP = f.Text()
			case f.Is(3, wire.VarintType):
				n.SourcePort = uint32(f.N)
			case f.Is(4, wire.BytesType):
				n.DestinationIP = f.Text()
			case f.Is(5, wire.VarintType):
				n.DestinationPort = uint32(f.N)
			case f.Is(6, wire.VarintType):
				n.BytesSent = f.N
			case f.Is(7, wire.VarintType):
				n.BytesReceived = f.N
			case f.Is(8, wire.VarintType):
				n.DurationNs = f.N
			case f.Is(9, wire.VarintType):
				n.StatusCode = uint32(f.N)
			case f.Is(10, wire.BytesType):
				n.Method = f.Text()
			case f.Is(11, wire.BytesType):
				n.Path = f.Text()
			}
		}
	})
	return n, ok
}

// Kernel returns the system call; ok is false when the event carries none.
func (e *Event) Kernel() (k Kernel, ok bool) {
	ok = e.signalOf(wire.FieldKernel, func() { k = Kernel{} }, func(b []byte) {
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.BytesType):
				k.Syscall = f.Text()
			case f.Is(2, wire.VarintType):
				k.PID = uint32(f.N)
			case f.Is(3, wire.VarintType):
				k.UID = uint32(f.N)
			case f.Is(4, wire.BytesType):
				k.Command = f.Text()
			case f.Is(5, wire.VarintType):
				k.ReturnCode = zigzag(f.N)
			}
		}
	})
	return k, ok
}

// Span returns the operation; ok is false when the event carries none.
func (e *Event) Span() (s Span, ok bool) {
	ok = e.signalOf(wire.FieldSpan, func() { s = Span{} }, func(b []byte) {
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.BytesType):
				s.Name = f.Text()
			case f.Is(2, wire.BytesType):
				s.Kind = f.Text()
			case f.Is(3, wire.VarintType):
				s.DurationNs = f.N
			case f.Is(4, wire.BytesType):
				s.Status = f.Text()
			case f.Is(5, wire.BytesType):
				s.PeerService = f.Text()
			}
		}
	})
	return s, ok
}
