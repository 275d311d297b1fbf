package event

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
	case fieldMetric:
		return "metric"
	case fieldLog:
		return "log"
	case fieldKubernetes:
		return "kubernetesEvent"
	case fieldNetwork:
		return "network"
	case fieldKernel:
		return "kernel"
	case fieldSpan:
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
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.num < firstSignal || f.num > lastSignal || f.wire != wireBytes:
			case f.num == num:
				merge(f.v)
			default:
				reset()
			}
		}
	}
}

// Metric returns the sample; ok is false when the event carries none.
func (e *Event) Metric() (m Metric, ok bool) {
	ok = e.signalOf(fieldMetric, func() { m = Metric{} }, func(b []byte) {
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireBytes):
				m.Name = f.text()
			case f.is(2, wireFixed64):
				m.Value = f.float()
			case f.is(3, wireBytes):
				m.Unit = f.text()
			case f.is(4, wireBytes):
				m.Kind = f.text()
			}
		}
	})
	return m, ok
}

// Log returns the origin of the log line; ok is false when the event carries none.
func (e *Event) Log() (l Log, ok bool) {
	ok = e.signalOf(fieldLog, func() { l = Log{} }, func(b []byte) {
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireBytes):
				l.Logger = f.text()
			case f.is(2, wireBytes):
				l.ErrorType = f.text()
			case f.is(3, wireBytes):
				l.StackTrace = f.text()
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
	ok = e.signalOf(fieldKubernetes, func() { k = KubernetesEvent{} }, func(b []byte) {
		f := fields{rest: b}
		for f.next() {
			if f.wire != wireBytes {
				continue
			}
			switch f.num {
			case 1:
				k.Reason = f.text()
			case 2:
				k.Action = f.text()
			case 3:
				k.Type = f.text()
			case 4:
				k.ReportingController = f.text()
			case 5:
				k.ReportingInstance = f.text()
			case 6:
				k.UID = f.text()
			}
		}
	})
	return k, ok
}

// Network returns the flow; ok is false when the event carries none.
func (e *Event) Network() (n Network, ok bool) {
	ok = e.signalOf(fieldNetwork, func() { n = Network{} }, func(b []byte) {
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireBytes):
				n.Protocol = f.text()
			case f.is(2, wireBytes):
				n.SourceIP = f.text()
			case f.is(3, wireVarint):
				n.SourcePort = uint32(f.n)
			case f.is(4, wireBytes):
				n.DestinationIP = f.text()
			case f.is(5, wireVarint):
				n.DestinationPort = uint32(f.n)
			case f.is(6, wireVarint):
				n.BytesSent = f.n
			case f.is(7, wireVarint):
				n.BytesReceived = f.n
			case f.is(8, wireVarint):
				n.DurationNs = f.n
			case f.is(9, wireVarint):
				n.StatusCode = uint32(f.n)
			case f.is(10, wireBytes):
				n.Method = f.text()
			case f.is(11, wireBytes):
				n.Path = f.text()
			}
		}
	})
	return n, ok
}

// Kernel returns the system call; ok is false when the event carries none.
func (e *Event) Kernel() (k Kernel, ok bool) {
	ok = e.signalOf(fieldKernel, func() { k = Kernel{} }, func(b []byte) {
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireBytes):
				k.Syscall = f.text()
			case f.is(2, wireVarint):
				k.PID = uint32(f.n)
			case f.is(3, wireVarint):
				k.UID = uint32(f.n)
			case f.is(4, wireBytes):
				k.Command = f.text()
			case f.is(5, wireVarint):
				k.ReturnCode = zigzag(f.n)
			}
		}
	})
	return k, ok
}

// Span returns the operation; ok is false when the event carries none.
func (e *Event) Span() (s Span, ok bool) {
	ok = e.signalOf(fieldSpan, func() { s = Span{} }, func(b []byte) {
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireBytes):
				s.Name = f.text()
			case f.is(2, wireBytes):
				s.Kind = f.text()
			case f.is(3, wireVarint):
				s.DurationNs = f.n
			case f.is(4, wireBytes):
				s.Status = f.text()
			case f.is(5, wireBytes):
				s.PeerService = f.text()
			}
		}
	})
	return s, ok
}
