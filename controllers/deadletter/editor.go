package deadletter

import (
	"context"
	"errors"
	"time"

	"millrace.dev/millrace/controllers/view"
)

// Errors of an Editor, beside those of a view.Reader.
var (
	// ErrEnded means that the job has ended already.
	ErrEnded = errors.New("the job has ended")
	// ErrRunning means that another process is at work on the job.
	ErrRunning = errors.New("another process is at work on the job")
)

// Editor publishes dead letters again, and removes them. All methods may be called at the same time.
//
// A replay is a job. Its state is in the bucket of the leases, so that it outlives the process that works on it: when one was
// killed, another call of Run goes on, and each dead letter is published once.
type Editor interface {
	// Start stores a job, on which nobody works yet. With DryRun nothing is stored: it returns what the job would do.
	Start(ctx context.Context, of view.Name, o ReplayOptions) (*Job, error)
	// Run works on a job until it ends, or ctx does, and calls told (which may be nil) with how far it is. It waits until no other process has
	// worked on the job for StalledAfter; ErrRunning when one does, ErrEnded when there is nothing to do.
	Run(ctx context.Context, of view.Name, id string, told func(*Job)) (*Job, error)
	// Jobs lists jobs, the newest first.
	Jobs(ctx context.Context, of view.Name) ([]Job, error)
	// Cancel has a job end behind its next batch, whoever works on it.
	Cancel(ctx context.Context, of view.Name, id string) (*Job, error)
	// Purge removes chosen dead letters from their stream, but for those that tell a lane how far it is.
	Purge(ctx context.Context, of view.Name, o PurgeOptions) (*Purged, error)
}

// ReplayOptions choose dead letters, and say how to publish them.
type ReplayOptions struct {
	// LetterOptions choose; Before and Limit too: the oldest ones are published first.
	view.LetterOptions
	// Sequences choose dead letters one by one; empty = all that the other options choose.
	Sequences []uint64 `json:"sequences,omitempty"`
	// After leaves out those up to a sequence.
	After uint64 `json:"after,omitempty"`
	// To is the subject to publish on, below the ingress; empty = where it came in, and <ingress>.replayed for those that died
	// between stages.
	To string `json:"to,omitempty"`
	// Rate is how many are published a second; 0 = as fast as it goes.
	Rate float64 `json:"rate,omitempty"`
	// Again takes those too that were published again before.
	Again  bool `json:"again,omitempty"`
	DryRun bool `json:"dryRun,omitempty"`
}

// The states of a job.
const (
	StateRunning   = "running"
	StateDone      = "done"
	StateCancelled = "cancelled"
	StateFailed    = "failed"
)

// Job is one replay.
type Job struct {
	ID      string        `json:"id"`
	Options ReplayOptions `json:"options"`
	State   string        `json:"state"`
	// Stalled says that it is running, but no process has worked on it for StalledAfter: Run goes on with it.
	Stalled bool `json:"stalled,omitempty"`
	// Error says why it has failed.
	Error   string    `json:"error,omitempty"`
	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`
	// Last is the sequence of the last dead letter that it has looked at, and End that of the last one that it will look at.
	Last uint64 `json:"last"`
	End  uint64 `json:"end"`
	// Published counts dead letters; Before are those that were published again before, Truncated those that are not whole. Both are passed over.
	Published int `json:"published"`
	Before    int `json:"before"`
	Truncated int `json:"truncated"`
}

// StalledAfter is how long no process has worked on a job that is stalled.
const StalledAfter = 10 * time.Second

// PurgeOptions choose dead letters to remove.
type PurgeOptions struct {
	view.LetterOptions
	// Sequences choose dead letters one by one; empty = all that the other options choose.
	Sequences []uint64 `json:"sequences,omitempty"`
	// After leaves out those up to a sequence: a purge with a Limit goes on behind Purged.Last.
	After uint64 `json:"after,omitempty"`
	// Replayed chooses those alone that were published again.
	Replayed bool `json:"replayed,omitempty"`
	DryRun   bool `json:"dryRun,omitempty"`
}

// Purged counts dead letters.
type Purged struct {
	Removed int `json:"removed"`
	// Kept are those that a worker needs to know how far it is: the last ones of its lane. They can be removed when newer ones are stored.
	Kept int `json:"kept"`
	// Last is the sequence of the last dead letter that was looked at; 0 if there was none. After a dry run, a purge with Before: Last+1 leaves
	// alone what is stored in between, and with Limit: Removed it removes no more than was counted.
	Last uint64 `json:"last"`
	// More means that Limit ended the purge, and that there may be more to remove behind Last.
	More bool `json:"more,omitempty"`
}
