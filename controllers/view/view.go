package view

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Errors of a Reader; others mean that NATS or Kubernetes could not be asked.
var (
	// ErrNotFound means that there is no such pipeline, stage, port, event or dead letter. The text says which.
	ErrNotFound = errors.New("not found")
	// ErrInvalid means a question that has no answer, such as a filter that does not compile.
	ErrInvalid = errors.New("invalid")
)

// Name of a pipeline.
type Name struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Reader answers. All methods may be called at the same time.
type Reader interface {
	// Pipelines lists all pipelines, by namespace and name.
	Pipelines(ctx context.Context) ([]Pipeline, error)
	// Graph is what a pipeline is made of.
	Graph(ctx context.Context, of Name) (*Graph, error)
	// Flow calls f with what flows, at once and then every FlowInterval, until ctx ends or f fails. Who watches the same
	// pipeline at the same time shares the readings.
	Flow(ctx context.Context, of Name, f func(*Flow) error) error
	// History is the flow of the last hour, oldest first, as far as it was read.
	History(ctx context.Context, of Name) ([]*Flow, error)

	// Tap calls f with the events of one port, in the order of their partitions.
	Tap(ctx context.Context, of Name, o TapOptions, f func(*Stored) error) error
	// Trace follows the events with an id through all stages.
	Trace(ctx context.Context, of Name, o TraceOptions) (*Trace, error)
	// Incidents lists the newest revision of each insight.
	Incidents(ctx context.Context, of Name, o IncidentOptions) ([]Incident, error)

	// DeadLetters lists dead letters, the newest first.
	DeadLetters(ctx context.Context, of Name, o LetterOptions) (*Letters, error)
	// DeadLetter is one of them, by the sequence in its stream.
	DeadLetter(ctx context.Context, of Name, sequence uint64) (*Letter, error)
}

// Pipeline is one row of the list of pipelines.
type Pipeline struct {
	Name
	Ready bool `json:"ready"`
	// Reason is one word, and Message a sentence, why it is not ready, or not known to be.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Stages  int    `json:"stages"`
}

// Graph is what a pipeline is made of: stages, and streams between them.
type Graph struct {
	Name
	Stages []Stage `json:"stages"`
	Edges  []Edge  `json:"edges"`
	// Warnings of the planner.
	Warnings []string `json:"warnings,omitempty"`
	// Revision tells apart graphs with other stages or edges, or in another order.
	Revision string `json:"revision"`
}

// Stage is a node.
type Stage struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Head is the stage in whose workers this one runs; empty for a stage with workers of its own.
	Head string `json:"head,omitempty"`
	// Lanes bound the number of workers that work at the same time.
	Lanes     int  `json:"lanes"`
	Suspended bool `json:"suspended,omitempty"`
	// Ports that the stage has, such as out, insights, dead-letter.
	Ports []string `json:"ports"`
	// Stateful stages remember events of the past.
	Stateful bool `json:"stateful,omitempty"`
}

// Edge leads from a port to a stage that reads it. From is "ingress", or a stage; To is empty for a port that no stage reads,
// such as insights and dead letters.
type Edge struct {
	From string `json:"from"`
	Port string `json:"port"`
	To   string `json:"to,omitempty"`
	// Stream that stores it; empty when both stages run in one worker.
	Stream     string `json:"stream,omitempty"`
	Partitions int    `json:"partitions,omitempty"`
}

// FlowInterval is the time between readings.
const FlowInterval = 2 * time.Second

// Flow is one reading of what flows. Rates are means since the reading before, and null in the first one.
type Flow struct {
	At time.Time `json:"at"` // by the clock of the NATS server
	// Graph is the revision of the graph whose stages and edges these are (Graph.Revision): with another one, ask for the graph again.
	Graph  string      `json:"graph"`
	Stages []StageFlow `json:"stages"` // in the order of Graph.Stages
	Edges  []EdgeFlow  `json:"edges"`  // in the order of Graph.Edges
	// Problems say what could not be read, and why.
	Problems []string `json:"problems,omitempty"`
}

// StageFlow is one stage.
type StageFlow struct {
	Stage string `json:"stage"`
	// Latency is how long the newest messages took, from the message that was read being stored to what was made of it being stored.
	P50 *Seconds `json:"p50,omitempty"`
	P99 *Seconds `json:"p99,omitempty"`
	// Workers that run, and how many there are to be; null = not known.
	Workers *int `json:"workers,omitempty"`
	Wanted  *int `json:"wanted,omitempty"`
	// DeadLetters per second.
	DeadLetters *float64 `json:"deadLetters,omitempty"`
	// Processed is how many events a second it acknowledges; null for a stage that runs in the workers of another one.
	Processed *float64 `json:"processed,omitempty"`
	// BreakerOpen says since when a circuit breaker of the stage is open, and Breaker what it is for.
	BreakerOpen *time.Time `json:"breakerOpen,omitempty"`
	Breaker     string     `json:"breaker,omitempty"`
	// Health is ok, slow, stuck, failing or unknown; Why is one sentence.
	Health string `json:"health"`
	Why    string `json:"why,omitempty"`
}

// EdgeFlow is one edge.
type EdgeFlow struct {
	// Events per second that are stored on the port.
	Events *float64 `json:"events,omitempty"`
	// Lag is how many events the reader has not acknowledged; null where nobody reads.
	Lag *int64 `json:"lag,omitempty"`
	// OldestAge is how long ago the oldest of them was stored.
	OldestAge *Seconds `json:"oldestAge,omitempty"`
	Bytes     *uint64  `json:"bytes,omitempty"` // stored now, of the whole stream
	Messages  *uint64  `json:"messages,omitempty"`
	// PortMessages are those of the port; a stream may hold several.
	PortMessages *uint64 `json:"portMessages,omitempty"`
}

// Seconds is a duration, in JSON a number of seconds.
type Seconds time.Duration

// MarshalJSON writes seconds.
func (s Seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// UnmarshalJSON reads seconds.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// Place is where a stream holds an event.
type Place struct {
	Stream    string    `json:"stream"`
	Subject   string    `json:"subject"`
	Sequence  uint64    `json:"sequence"`
	Index     int       `json:"index"` // in the message, from 0
	Partition int       `json:"partition"`
	Stored    time.Time `json:"stored"`
}

// Stored is an event of a port.
type Stored struct {
	Place
	// Port is STAGE/PORT, or "ingress".
	Port string `json:"port"`
	// ID, Source, Type and Text are for lists: Text is the body, or the value of a metric. An event that cannot be read has none, and Error says why.
	ID     string    `json:"id,omitempty"`
	Source string    `json:"source,omitempty"`
	Type   string    `json:"type,omitempty"`
	Text   string    `json:"text,omitempty"`
	Time   time.Time `json:"time,omitzero"` // event time
	// Entity is kind/namespace/name.
	Entity string `json:"entity,omitempty"`
	// Event is the event as structured CloudEvent in JSON; null when it cannot be read. Raw is then what is stored.
	Event json.RawMessage `json:"event,omitempty"`
	Raw   []byte          `json:"raw,omitempty"`
	Error string          `json:"error,omitempty"`
	// Skipped is how many messages were left out just before this event, since the reader could not keep up with them.
	Skipped uint64 `json:"skipped,omitempty"`
}

// TapOptions choose events.
type TapOptions struct {
	// Stage and Port; an empty Stage means the ingress, an empty Port out.
	Stage string `json:"stage"`
	Port  string `json:"port"`
	// Filter is an expression of type bool as in route; empty = all.
	Filter string `json:"filter"`
	// Since is where to begin; zero = what is stored from now on. With Until it ends there, and at the newest event at the latest.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Sample takes one of N events; 0 and 1 = all.
	Sample int `json:"sample"`
	// Limit ends it after so many; 0 = no limit.
	Limit int `json:"limit"`
	// Follow goes on at the newest event. Without it the tap ends there.
	Follow bool `json:"follow"`
}

// TraceOptions say which events, and where to look for them.
type TraceOptions struct {
	ID string `json:"id"`
	// Since and Until bound the time at which the ingress stored the event; zero = they do not. An id that holds a time (UUID of version 7,
	// ULID) says by itself where to begin.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Patience is how long to look for the id; 0 = DefaultPatience.
	Patience Seconds `json:"patience,omitempty"`
}

// DefaultPatience is how long Trace looks for an id.
const DefaultPatience = 10 * time.Second

// Trace is the way of the events with one id: several when different sources use it.
type Trace struct {
	ID    string `json:"id"`
	Steps []Step `json:"steps"` // in the order of the graph
	// Incidents whose evidence names the event.
	Incidents []IncidentRef `json:"incidents,omitempty"`
	// Read is how many messages were read to find it.
	Read int `json:"read"`
	// From is the time since which all that was stored was looked through; zero = all that is stored was.
	From time.Time `json:"from,omitzero"`
}

// IncidentRef names an insight.
type IncidentRef struct {
	ID    string `json:"id"`
	Title string `json:"title"` // of its newest revision
}

// What a stage did with an event.
const (
	DecisionStored    = "stored"       // at the ingress
	DecisionEmitted   = "emitted"      // on a port
	DecisionFiltered  = "filtered"     // done, and nothing stored
	DecisionDuplicate = "deduplicated" // an event with its id had come before
	DecisionDead      = "dead-lettered"
	DecisionWaiting   = "waiting" // not yet processed
	DecisionExpired   = "expired" // the stream no longer holds what tells
)

// Step is what one stage did with an event.
type Step struct {
	Stage    string `json:"stage"` // "ingress" at first
	Decision string `json:"decision"`
	Port     string `json:"port,omitempty"`
	// Why is one sentence, such as the error of a dead letter.
	Why string `json:"why,omitempty"`
	// At is where the result is stored, From where the stage read it.
	At   *Place `json:"at,omitempty"`
	From *Place `json:"from,omitempty"`
	// Waited is the time from the message that was read being stored to the result being stored.
	Waited *Seconds `json:"waited,omitempty"`
	// Added are the members that differ from what the stage read, by path; null = removed.
	Added map[string]json.RawMessage `json:"added,omitempty"`
	// Event as it was stored.
	Event json.RawMessage `json:"event,omitempty"`
}

// IncidentOptions choose insights.
type IncidentOptions struct {
	// Open leaves out those that are closed.
	Open      bool      `json:"open"`
	Namespace string    `json:"namespace"`
	Entity    string    `json:"entity"`   // a part of kind/namespace/name of the cause or of what is affected
	Severity  string    `json:"severity"` // at least: info, warning, error, fatal
	Since     time.Time `json:"since,omitzero"`
	Limit     int       `json:"limit"`
}

// Incident is the newest revision of an insight.
type Incident struct {
	ID        string `json:"id"`
	Title     string `json:"title"`
	Summary   string `json:"summary"`
	Status    string `json:"status"` // open or closed
	Revision  uint32 `json:"revision"`
	Severity  string `json:"severity"`
	Stage     string `json:"stage"`
	Rule      string `json:"rule,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	// Confidence is 0 to 1; ConfidenceMethod says what it rests on.
	Confidence       float64    `json:"confidence"`
	ConfidenceMethod string     `json:"confidenceMethod,omitempty"`
	Cause            string     `json:"cause,omitempty"` // kind/namespace/name
	Affected         []string   `json:"affected,omitempty"`
	First            time.Time  `json:"first"` // event time
	Last             time.Time  `json:"last"`
	Count            uint32     `json:"count"`
	Evidence         []Evidence `json:"evidence"` // by time
	At               Place      `json:"at"`
	// Event is the insight itself, as structured CloudEvent in JSON.
	Event json.RawMessage `json:"event"`
}

// Evidence is one link of the chain that leads to a cause.
type Evidence struct {
	EventID  string    `json:"eventId"`
	Type     string    `json:"type"`
	Time     time.Time `json:"time"`
	Relation string    `json:"relation,omitempty"`
	Text     string    `json:"text,omitempty"`
	Entity   string    `json:"entity,omitempty"`
}

// LetterOptions choose dead letters. Empty members choose all.
type LetterOptions struct {
	Stage  string    `json:"stage"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	// Filter is an expression of type bool over the event, for letters whose body can be read as one.
	Filter string `json:"filter"`
	// Before is a sequence: only those stored before it, to turn pages.
	Before uint64 `json:"before"`
	Limit  int    `json:"limit"` // 0 = 100
}

// Letters are a page of dead letters.
type Letters struct {
	Letters []Letter `json:"letters"`
	// Groups count all chosen letters by stage and reason, whatever the limit; the most first.
	Groups []LetterGroup `json:"groups"`
	// More tells that there are letters before the last one of the page.
	More bool `json:"more"`
	// Partial tells that there are more letters than one question reads: older ones are neither listed nor counted.
	Partial bool `json:"partial,omitempty"`
}

// LetterGroup counts dead letters.
type LetterGroup struct {
	Stage    string    `json:"stage"`
	Reason   string    `json:"reason"`
	Count    int       `json:"count"`
	Replayed int       `json:"replayed"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// Letter is an event that a stage could not process.
type Letter struct {
	Sequence uint64    `json:"sequence"`
	Stored   time.Time `json:"stored"`
	Stage    string    `json:"stage"`
	Reason   string    `json:"reason"`
	Error    string    `json:"error"`
	Attempts int       `json:"attempts"`
	// From is where it was received.
	From Place `json:"from"`
	// EventID is empty when the body is no event.
	EventID string `json:"eventId,omitempty"`
	// Replayed is when it was last published again; zero = never.
	Replayed time.Time `json:"replayed,omitzero"`
	// Truncated tells that the body is not whole: Size is what it had, in bytes.
	Truncated bool `json:"truncated,omitempty"`
	Size      int  `json:"size"`
	// Header and Body are those of the sender. Lists have neither.
	Header map[string][]string `json:"header,omitempty"`
	Body   []byte              `json:"body,omitempty"`
}
