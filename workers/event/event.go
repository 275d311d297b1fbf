package event

// Event is a view of one encoded event. Its strings and slices share memory with the
// message that it came from: they are valid until the batch is released.
//
// The exported fields are read once, when the event is decoded; setting one does not
// change the encoded event (the Append and Set methods do both).
type Event struct {
	ID, Source, Type, Subject string
	// Time, ObservedTime and IngestTime are Unix nanoseconds; 0 = unset.
	Time, ObservedTime, IngestTime int64
	// Severity is the OpenTelemetry severity number, 1..24; 0 = unset.
	Severity     int32
	PartitionKey string
	TraceID      []byte
	SpanID       []byte
	Entity       EntityRef
	Body         string
	// Count is how many occurrences the event stands for, at least 1.
	Count uint32

	// Origin is where the event was received: the stream sequence of its message and its
	// position in it. A redelivered event has the same origin.
	Origin Origin

	raw   []byte // as received: one encoded millrace.event.v1.Event
	patch []byte // encoded fields appended by this stage
}

// EntityRef names a thing that an event is about.
type EntityRef struct {
	Kind, Namespace, Name, UID, APIVersion, Cluster, Role string
}

// Origin identifies one received event.
type Origin struct {
	// Input is the index of the stage's input that the event came through.
	Input int
	// Sequence is the stream sequence of the message.
	Sequence uint64
	// Index is the position of the event in the message, from 0.
	Index int
}
