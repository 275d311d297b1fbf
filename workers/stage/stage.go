package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
)

// Stage is what one kind of stage does with events.
//
// The engine calls Start once, then Process and (if implemented) Flush, then Shutdown once.
// Process and Flush of a stateless stage are called from several goroutines at once.
//
// If Start fails, the engine calls nothing else on that stage: Start itself releases what it took. The stages that
// started before it are shut down, the last one first, and the worker ends with the error. The same holds when
// Factory.New fails. A stateful stage starts when its lane comes to the worker, and ends the worker then in the same
// way: the work in hand of the other lanes is stored before.
//
// A stateful stage (Factory.Stateful) has one instance for each lane (partition), and its
// Process and Flush are never called concurrently. Process is called in stream order, and each call gets
// the events of one message. A message with more than batch.maxEvents events is split, always at the same
// places; after an error or a panic its events come one by one. What the stage decides and produces must follow from the sequence of calls alone: from the events, Batch.Now and the arguments of Flush; not from
// the wall clock, the order of a map, a pointer, a goroutine or chance. A worker that takes
// over a lane replays the input, and must come to the same state and the same output.
type Stage interface {
	// Start makes the stage ready: it may wait for caches. ctx ends when the worker is told to stop or loses the
	// lane meanwhile; it is not for goroutines that go on after Start: Shutdown ends these.
	// An error stops the worker, unless ctx has ended.
	Start(ctx context.Context) error
	// Process decides what becomes of every event of b, through b's verdict methods; an
	// event without a verdict is emitted on port out. It may produce new events on any
	// port of the stage. It must not keep references to b or its events after it returns:
	// their memory is used again. (strings.Clone what must live.)
	//
	// An error concerns the whole batch: the engine then processes the events one by one to find the one to blame,
	// and retries or dead-letters only that one (but see Permanent and Unavailable). So a stage should return an error only when it
	// cannot tell which event is at fault. A stage with state that returns one has taken nothing of the batch into its state.
	//
	// ctx has a deadline, a minute away by default, and ends when the lane goes to another worker. A stage that waits for something gives up
	// then and says whose fault that is (Unavailable). Two minutes in one call, and the worker takes itself for dead and is started anew.
	//
	// A panic is a fault of the stage. The event that panics alone is a dead letter. The engine drops an instance with state that
	// panicked, and rebuilds another: see Rebuilder.
	Process(ctx context.Context, b *Batch) error
	// Shutdown releases what Start took. No event is in hand when it is called. It is called once, and only when
	// Start succeeded.
	Shutdown(ctx context.Context) error
}

// Async is implemented by stages without state that ask others and wait for answers. While they wait for one batch they are given the next
// ones; what comes of the batches is stored in the order of the input all the same. A stage that is chained to another, or keeps state, is
// given one batch after another, by Process.
type Async interface {
	// InFlight is how many batches may wait for their answers at once, 1 to 256. It does not change.
	InFlight() int
	// Begin is Process in the background: it returns soon, and done is called once, from any goroutine, when the stage has
	// decided about all events of b. Process is called as well: for what is tried again, and to find the event to blame after an error.
	// b and its events are the stage's until it calls done; one goroutine at a time changes them. A message with more than batch.maxEvents
	// events is given to Process. done is called in any case, also when ctx
	// has ended: at its deadline with an error that says whose fault that is. A panic in a goroutine of
	// the stage ends the worker.
	Begin(ctx context.Context, b *Batch, done func(error))
}

// Flusher is implemented by stages that emit without input: windows that close, incidents
// that end. The engine calls Flush about once a second (see Ticker): for a stateful stage at whole
// seconds of stream time, between two messages, and by the clock while the input is idle, two seconds behind it.
// It calls Flush with final=true when the input is drained for good (millrace run), after
// which everything must be emitted. now is the stream time (see Batch.Now). b holds no
// events; Flush may only produce.
type Flusher interface {
	Flush(ctx context.Context, now time.Time, final bool, b *Batch) error
}

// Ticker is implemented by a Flusher that wants to be called more often than once a second.
type Ticker interface {
	// Every is the time between two calls of Flush, in stream time: at least MinTick, and a second is a multiple of it. Any other
	// value is taken for a second. It does not change.
	Every() time.Duration
}

// MinTick is the least time between two calls of Flush.
const MinTick = 10 * time.Millisecond

// TickOf is the time between two calls of Flush of a stage.
func TickOf(s Stage) time.Duration {
	if t, ok := s.(Ticker); ok {
		if every := t.Every(); every >= MinTick && every < time.Second && time.Second%every == 0 {
			return every
		}
	}
	return time.Second
}

// Rebuilder is implemented by stateful stages whose state can be made again from their
// recent input. After a worker has taken over a lane, the engine calls Process and Flush
// of a new instance with the input of the last Horizon, publishes nothing meanwhile, and
// then goes on. The page of a stage says what a longer past could still have changed.
type Rebuilder interface {
	// Horizon is how much stream time the state reaches back. It follows from the stage's
	// config and does not change.
	Horizon() time.Duration
}

// Snapshotter is a Rebuilder whose state can be kept, so that a worker that takes over replays less input. A replay is what
// counts: a snapshot only saves time, and where there is none, or it cannot be read, nothing else changes. Package state has what
// an implementation needs.
type Snapshotter interface {
	Rebuilder
	// Snapshot appends the state after the last call of Process, Flush or Recall to b: all that decides what the stage makes
	// of its input from then on. The format is the stage's own. It carries a version, and whatever of the config it
	// depends on; live members are not among that. The same state makes the same bytes. The engine calls it like Process.
	Snapshot(b []byte) ([]byte, error)
	// Restore gives that state to a new instance that has started, in place of a replay and of Recall: what was
	// recalled is part of the state. It keeps nothing of b. After an error, of another version, another config, or damage, the engine
	// throws the instance away and replays the input to another one.
	Restore(b []byte) error
}

// Watermarked is implemented by stages that must know when an input has nothing more to say about an event. The planner has all stages
// before such a one say how far they are (config.Output.Watermarks). Only the first stage of a worker hears of it.
type Watermarked interface {
	// Watermark is called behind Process for each message of an input, for those without events too, in stream order; once for each input
	// when the lane begins; and for the first input behind a Flush that made something while the stage held events back. The engine calls it like
	// Process. b holds no events; Watermark may only produce.
	//
	// until is the watermark of the input: all events for this lane have come that came of messages which the ingress stored until then.
	// Zero = unknown. So the input has nothing more to say about the events of a Batch whose Newest is not later than until.
	//
	// A stage that holds events back returns a watermark that none of these came before: its outputs promise no more than that. Zero = it
	// holds none.
	Watermark(ctx context.Context, input int, until time.Time, b *Batch) (complete time.Time, err error)
}

// Recaller is implemented by stages that open insights and close them. An insight may have begun before the Horizon: a
// replay alone would show another beginning, under another id, and no stage would close the first insight.
type Recaller interface {
	// Remembers is how long an insight may be open without a revision, in stream time.
	Remembers() time.Duration
	// Recall is called once, after the replay of a takeover, also when there was nothing to replay, but not after Restore. told are the last
	// stored revisions of the insights of this instance, in the order in which these began, of the last Remembers. From then on the stage
	// publishes under the ids that people know, and closes each that is open. What it makes of told it publishes in a Flush
	// later than after: all before that is decided already.
	Recall(told []*eventv1.Event, after time.Time)
}

// Selective is implemented by stages with a Horizon that look at marked events only (event.Event.Marked): Process filters
// all others, and a batch without them leads to the same state. A takeover then decodes only the marked events of the
// input, which frames name in a header, and gives Process nothing of a message that has none. Flush is called as
// ever.
type Selective interface {
	// OnlyMarked says whether the stage is one, with its present config.
	OnlyMarked() bool
}

// Noter is implemented by stages without state that have something to say to a person while they work, such as a circuit breaker that is open. /readyz
// shows it.
type Noter interface {
	// Notes are short sentences; it is called from any goroutine, at any time.
	Notes() []string
}

// Breaking is implemented by stages without state that have circuit breakers. The operator is told which are not closed.
type Breaking interface {
	// Open are those that are not closed; it is called from any goroutine, at any time.
	Open() []config.OpenBreaker
}

// Reloader is implemented by stages whose config has live members (config.StageConfig.Fixed).
type Reloader interface {
	// Reload returns a stage that decides by the live members of c and has everything else of
	// this one: its state, its metrics, and what Start took. The Horizon stays as it is. The
	// engine calls it between two calls of Process and Flush of a stateful stage, and from then
	// on uses the new one alone. Of a stateless stage it uses both for a while, at once; Shutdown
	// is called on the newest. An error, of what Factory.New refuses too, leaves this one as it is.
	Reload(c *config.StageConfig) (Stage, error)
}

// Factory makes stages of one kind.
type Factory interface {
	// Kind is the kind that this factory makes.
	Kind() config.Kind
	// Stateful says whether the stage keeps state between events: an instance then sees
	// every event of its lane, in stream order, from one goroutine.
	Stateful(c *config.StageConfig) bool
	// New builds a stage from settings. It must not start goroutines or touch the network.
	// Errors name the field of the stage config. It is called once for each lane of a
	// stateful stage: instances share nothing. The worker calls it again when it is given a
	// lane that it had before.
	New(s Settings) (Stage, error)
}

// Settings are what every stage is given.
type Settings struct {
	Config *config.StageConfig
	Log    *slog.Logger
	// Now is the wall clock, for what is measured and for what lies outside the pipeline. A
	// stateful stage does not decide by it: see Batch.Now.
	Now func() time.Time
	// Metrics takes the stage's own metrics; pipeline, stage and, for a stateful stage, lane
	// are bound as labels. What an instance registers is unregistered when its lane ends.
	Metrics prometheus.Registerer
	// Lanes is how many instances a stateful stage has, over all workers; 0 is 1.
	Lanes int
	// Requester asks others over NATS; nil = the worker has no connection, as in tests of stages that ask nobody.
	Requester Requester
}

// Share is the part of a bound of the whole stage, such as a number of entries, that one
// instance may use.
func (s Settings) Share(bound int) int {
	lanes := max(s.Lanes, 1)
	return (bound + lanes - 1) / lanes
}

// Port returns the set of one port of the stage, by its name. An error names the ports that there are.
func (s Settings) Port(name string) (Ports, error) {
	names := s.Config.Ports()
	i := slices.Index(names, name)
	switch {
	case name == config.PortDeadLetter:
		return 0, errors.New("port dead-letter takes what the verdict DeadLetter sends there, and nothing else")
	case i < 0:
		return 0, fmt.Errorf("the stage has no port %q; its ports are %s", name, strings.Join(names, ", "))
	}
	return 1 << i, nil
}

// Registry finds the factory of a kind. It is a value that main builds; there is no global one.
type Registry map[config.Kind]Factory

// NewRegistry indexes factories by kind.
func NewRegistry(factories ...Factory) Registry {
	r := make(Registry, len(factories))
	for _, f := range factories {
		r[f.Kind()] = f
	}
	return r
}

// Factory returns the factory of kind k, or an error that names the kinds there are.
func (r Registry) Factory(k config.Kind) (Factory, error) {
	if f, ok := r[k]; ok {
		return f, nil
	}
	return nil, fmt.Errorf("kind %q has no factory in this worker", k)
}

// An error says whose fault it is. Without a mark it is the event's, and another attempt may mend it: after the stage's
// attempts the event is a dead letter.

// Permanent marks err as the event's fault, which no attempt mends: the event is a dead letter at once.
func Permanent(err error) error { return permanentError{err} }

// IsPermanent tells whether err was marked by Permanent.
func IsPermanent(err error) bool { return errors.As(err, &permanentError{}) }

// Unavailable marks err as the fault of the moment: what the stage calls is away. No event is blamed. The lane waits, for ever if
// need be, and calls again after a back-off; no attempt is counted. Meanwhile the worker is not ready, and says why.
func Unavailable(err error) error { return unavailableError{err} }

// IsUnavailable tells whether err was marked by Unavailable.
func IsUnavailable(err error) bool { return errors.As(err, &unavailableError{}) }

type permanentError struct{ err error }

func (e permanentError) Error() string { return e.err.Error() }
func (e permanentError) Unwrap() error { return e.err }

type unavailableError struct{ err error }

func (e unavailableError) Error() string { return e.err.Error() }
func (e unavailableError) Unwrap() error { return e.err }
