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

// refused finds the rows that the server does not take; nil when it takes all. A search that takes too long ends with those that it has found: the
// engine stores without them, and the next search begins there.
func (t *Target) refused(ctx context.Context, lane string, rows []any, from, to string) (*stage.Refused, error) {
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
		if err := s.in(ctx, tx, rows, 0); err != nil {
			return err
		}
		return errSearched
	})
	switch {
	case !errors.Is(err, errSearched):
		return nil, err
	case len(s.found.Rows) == 0:
		return nil, nil
	}
	return s.found, nil
}

type search struct {
	t     *Target
	until time.Time // zero = for ever
	found *stage.Refused
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
		return inner.Commit(ctx)
	}
	if !ofRow(refused) {
		return refused
	}
	if err := inner.Rollback(ctx); err != nil {
		return err
	}
	if len(rows) == 1 {
		s.found.Rows = append(s.found.Rows, refusal(first, refused))
		return nil
	}
	half := len(rows) / 2
	if err := s.in(ctx, tx, rows[:half], first); err != nil {
		return err
	}
	return s.in(ctx, tx, rows[half:], first+half)
}
