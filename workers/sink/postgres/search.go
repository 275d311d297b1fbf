package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"millrace.dev/millrace/workers/stage"
)

// errSearched ends the transaction of a search, which must not take effect.
var errSearched = errors.New("searched")

// maxMaybe is how many rows are refused for what may be the fault of the table before a row is taken, at most.
const maxMaybe = 16

// errOfTable ends a search that finds no row which is taken.
var errOfTable = errors.New("of the table")

// refused finds the rows that the server does not take; nil when none of them alone is to blame. maybe says that the table may be. A search that takes too long ends with those that it has found: the
// engine stores without them, and the next search begins there.
func (t *Target) refused(ctx context.Context, lane string, rows []any, from, to string, maybe bool) (*stage.Refused, error) {
	s := search{t: t, found: &stage.Refused{}}
	if deadline, ok := ctx.Deadline(); ok {
		s.until = deadline.Add(-deadline.Sub(t.now()) / 2)
	}
	err := t.transaction(ctx, func(tx pgx.Tx) error {
		// The place first: whoever has the lane no more blames no row.
		if err := t.move(ctx, tx, lane, from, to); err != nil {
			return err
		}
		// What would be refused at the commit is refused at the row.
		if _, err := tx.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
			return err
		}
		if maybe { // what is wrong with a table, or with the rights to it, fails without a row as well
			if err := t.copy(ctx, tx, nil); err != nil {
				return err
			}
		}
		if err := s.in(ctx, tx, rows, 0); err != nil {
			return err
		}
		return errSearched
	})
	switch {
	case errors.Is(err, errOfTable):
		return nil, nil
	case !errors.Is(err, errSearched):
		return nil, err
	case len(s.found.Rows) == 0, s.maybe > 0 && !s.taken:
		return nil, nil
	}
	return s.found, nil
}

type search struct {
	t     *Target
	until time.Time // zero = for ever
	found *stage.Refused
	// taken is set when a row was taken, and maybe is how many were refused for what may be the fault of the table.
	taken bool
	maybe int
}

// in finds the rows among these, the first of which is row first of all. What is taken stays for the rest of the transaction: of two rows that
// exclude each other, the second is refused.
func (s *search) in(ctx context.Context, tx pgx.Tx, rows []any, first int) error {
	if len(s.found.Rows) > 0 && !s.until.IsZero() && s.t.now().After(s.until) {
		return nil
	}
	inner, err := tx.Begin(ctx) // a savepoint
	if err != nil {
		return err
	}
	refused := s.t.copy(ctx, inner, rows)
	if refused == nil {
		s.taken = true
		return inner.Commit(ctx)
	}
	if !ofRow(refused) && !maybeOfRow(refused) {
		return refused
	}
	if err := inner.Rollback(ctx); err != nil {
		return err
	}
	if len(rows) == 1 {
		if maybeOfRow(refused) {
			s.maybe++
		}
		if s.maybe >= maxMaybe && !s.taken {
			return errOfTable
		}
		s.found.Rows = append(s.found.Rows, refusal(first, refused))
		return nil
	}
	half := len(rows) / 2
	if err := s.in(ctx, tx, rows[:half], first); err != nil {
		return err
	}
	return s.in(ctx, tx, rows[half:], first+half)
}
