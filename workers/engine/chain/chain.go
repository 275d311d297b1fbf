package chain

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/engine/overflow"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// Options are what a Chain is made of. All are required.
type Options struct {
	Graph  *Graph
	Inputs []Input
	// Lane is the number of the lane, Lanes how many there are. One lane alone spreads what it writes over the partitions; others
	// do on outputs with Repartition.
	Lane, Lanes int
	Log         *slog.Logger
	// Now is the clock of the worker, Jitter returns a number in [0,1).
	Now    func() time.Time
	Jitter func() float64
	// Pause waits before the next attempt; false = the lane ends.
	Pause func(context.Context, time.Duration) bool
	// Stopped says that the lane is to finish what it has in hand.
	Stopped func() bool
	// Abort ends the session: the state of the stages cannot be trusted any more.
	Abort func(error)
	// Problem takes the text why the chain waits; empty = it does not any more.
	Problem func(string)
	// Panics says which panics and failures of stages are logged.
	Panics *Throttle
	// Suspects outlive the chain: they belong to the lane.
	Suspects *Suspects
	// HeaderRoom is how many bytes the headers take that are added to an output when it is stored.
	HeaderRoom int
	// CallTimeout is the deadline that one call of a stage has in its context.
	CallTimeout time.Duration
	// MaxPayload is how many bytes a message may have; 0 = no limit (see SetMaxPayload).
	MaxPayload int64
	// Overflow is what of the lane is in the overflow of the first stage; nil = it has none, or the lane is the one that replays it.
	Overflow *overflow.Backlog
	// Replay is set in the lane that replays the overflow. It takes over what the first stage sends there: it waits.
	Replay *overflow.Backlog
}

// Chain is the stages of one lane at work, for one session.
//
// Take, Replay, FlushUntil, FlushFinal, Through and Settle are called by one goroutine, one after another.
type Chain struct {
	lane, lanes int
	partitions  int // of the first stage
	inputs      []Input
	nodes       []*Node
	head        *Node
	perMessage  bool // messages are taken one by one
	parts       [2][]*Node
	cut         int
	inFlight    int           // batches of an asynchronous first stage that wait for answers at most; 0 = it is none
	asked       chan struct{} // those that do
	headerRoom  int
	callTimeout time.Duration
	overflow    *overflow.Backlog // nil = nothing is sent aside
	replay      *overflow.Backlog // nil = nothing was
	aside       stage.Ports       // port overflow of the first stage

	log      *slog.Logger
	now      func() time.Time
	jitter   func() float64
	wait     func(context.Context, time.Duration) bool
	stopped  func() bool
	abort    func(error)
	problem  func(string)
	panics   *Throttle
	suspects *Suspects

	instances []instance // by node
	outlets   [][]*Outlet
	numbered  []*Outlet // the same in a row
	doubt     *progress.Doubt

	memory     *memory   // of the message in hand; nil in a flush
	scratch    []scratch // by node
	flushes    bool      // some stage has a Flusher
	replaying  bool
	tick       int64    // Unix milliseconds of stream time up to which the stages are flushed
	every      int64    // milliseconds between two ticks
	last       []uint64 // stream sequence of the last message processed, by input
	watermarks watermarks

	// downstream is where the stages behind the cut take their work from; nil = there are none, or they
	// are not at work.
	downstream chan job
	// memories are the ones that are free; contexts is what their decoders remember.
	memories chan *memory
	contexts *event.Contexts

	broken  atomic.Bool // a stage with state panicked
	spoiled atomic.Bool // see Spoiled
	// busySince is when the call of a stage that goes on now began, in each part of the chain, in
	// Unix nanoseconds; 0 = there is none.
	busySince  [2]atomic.Int64
	maxPayload atomic.Int64
	waiting    atomic.Int32 // parts of the chain that wait for the back-off of a retry

	writers sync.Pool // *frame.Writer
}

// instance is a stage at work.
type instance struct {
	stage       stage.Stage
	flusher     stage.Flusher
	watermarked stage.Watermarked
	sink        bool
	every       int64 // milliseconds between two flushes
}

// New makes a chain that has no stages yet: see Open.
func New(o *Options) *Chain {
	g := o.Graph
	c := &Chain{
		lane: o.Lane, lanes: o.Lanes, partitions: g.Nodes[0].Partitions, inputs: o.Inputs,
		nodes: g.Nodes, head: g.Nodes[0], perMessage: g.Stateful, parts: g.parts, cut: g.cut, headerRoom: o.HeaderRoom, callTimeout: o.CallTimeout,
		log: o.Log, now: o.Now, jitter: o.Jitter, wait: o.Pause, stopped: o.Stopped, abort: o.Abort, problem: o.Problem,
		panics: o.Panics, suspects: o.Suspects, overflow: o.Overflow, replay: o.Replay, aside: g.Nodes[0].Ports.aside(),
		instances: make([]instance, len(g.Nodes)), scratch: make([]scratch, len(g.Nodes)), last: make([]uint64, len(o.Inputs)),
	}
	c.maxPayload.Store(o.MaxPayload)
	return c
}

// SetMaxPayload says how large a message may be from now on. To ask the connection takes a lock, so that is done once for a step.
func (c *Chain) SetMaxPayload(bytes int64) { c.maxPayload.Store(bytes) }

// Flushes says whether some stage emits by stream time.
func (c *Chain) Flushes() bool { return c.flushes }

// Broken says that the session was ended by Abort.
func (c *Chain) Broken() bool { return c.broken.Load() }

// Waiting says whether the chain waits for the back-off of a retry.
func (c *Chain) Waiting() bool { return c.waiting.Load() > 0 }

// InCall is for how long the call of a stage that goes on now has gone on; 0 = there is none.
func (c *Chain) InCall(now time.Time) (longest time.Duration) {
	for i := range c.busySince {
		if since := c.busySince[i].Load(); since != 0 {
			longest = max(longest, now.Sub(time.Unix(0, since)))
		}
	}
	return longest
}

// Horizon is how far back in time the stages remember.
func (c *Chain) Horizon() time.Duration {
	var horizon time.Duration
	for i := range c.instances {
		if r, ok := c.instances[i].stage.(stage.Rebuilder); ok {
			horizon = max(horizon, r.Horizon())
		}
	}
	return horizon
}

// Tick is the stream time up to which the stages are flushed, in Unix milliseconds.
func (c *Chain) Tick() int64 { return c.tick }

// Last is the stream sequence of the last message of an input that was processed.
func (c *Chain) Last(input int) uint64 { return c.last[input] }

// Done is up to where everything is stored that the chain has processed so far, once the steps before are.
func (c *Chain) Done() []progress.Position {
	done := make([]progress.Position, len(c.inputs))
	for i := range done {
		done[i] = c.at(i)
		done[i].Index = math.MaxUint32
	}
	return c.doubt.AtLeast(done)
}

// at is how far the session has come in an input.
func (c *Chain) at(i int) progress.Position {
	p := progress.Position{Seq: c.last[i]}
	if i == 0 { // where flushes belong
		p.Tick = c.tick
	}
	return p
}

// job is what the stages downstream are to do; false when they cannot go on.
type job func() bool
