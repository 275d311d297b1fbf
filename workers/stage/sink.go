package stage

import (
	"context"
	"fmt"
)

// Sink is implemented by stages without state that keep events outside of the pipeline, in a target with transactions, such as a database. The
// target keeps the place of the lane beside the events, so each event takes effect there once, whatever is killed.
//
// Process decides which events are kept, and as what (Batch.Keep). When it has decided about a whole step of the lane, the engine stores the
// dead letters of the step, calls Store, and only then acknowledges the input. A worker that takes the lane over asks for its Place, and goes
// on behind it.
//
// A Sink has its worker for itself: no stage is chained to it, and it is chained to none.
//
// A stage whose target has no transactions is no Sink: it keeps events in Process and says Keep. An event then
// takes effect at least once.
type Sink interface {
	Stage
	// Place is where a lane stands: what the last Store that took effect said, whoever called it; "" when none ever did. lane names the lane
	// among all of all pipelines of a cluster. The engine alone reads what is in a place: up to 4 KiB.
	Place(ctx context.Context, lane string) (string, error)
	// Store keeps rows, and that the lane stands at to, in one transaction, and only if the lane still stands at from ("" = nowhere yet). Rows are
	// what Process gave to Keep, in the order of the input; there may be none.
	//
	// An error says that nothing of it took effect, or that this is not known: the engine asks for the Place, and calls again or finds that another
	// worker has the lane. It does so for ever: no event is blamed, and the worker is not ready meanwhile. A Refused error is for rows that
	// the target will never take: nothing took effect, these rows become dead letters, and the engine calls again with the others. Move the
	// place before the rows: a call from a place where the lane does not stand any more is an error, and not one of its rows, however these are.
	//
	// Lanes call at the same time; one lane has one call after another. ctx has a deadline.
	Store(ctx context.Context, lane string, rows []any, from, to string) error
}

// Refused is the error of a Sink whose target does not take some of the rows.
type Refused struct{ Rows []RefusedRow }

// RefusedRow is a row that the target does not take.
type RefusedRow struct {
	// Row is its number in the call of Store.
	Row int
	// Reason is the low-cardinality reason of the dead letter (the metric label), Err what the target says.
	Reason string
	Err    error
}

func (r *Refused) Error() string {
	if len(r.Rows) == 0 {
		return "the target refuses no row"
	}
	return fmt.Sprintf("the target refuses %d rows, the first one: %v", len(r.Rows), r.Rows[0].Err)
}

func (r *Refused) Unwrap() []error {
	all := make([]error, len(r.Rows))
	for i := range r.Rows {
		all[i] = r.Rows[i].Err
	}
	return all
}
