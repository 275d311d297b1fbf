package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// waits are how long a transaction waits for a lane that another one holds, and how long one may hold it while the server waits for its worker.
type waits struct{ lock, frozen time.Duration }

var defaultWaits = waits{lock: 10 * time.Second, frozen: 20 * time.Second}

// begin begins a transaction. The server ends one whose worker is frozen between two statements, and one whose node is gone.
func (w waits) begin() string {
	return fmt.Sprintf("BEGIN; SET LOCAL lock_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d; SET LOCAL tcp_keepalives_idle = 15; "+
		"SET LOCAL tcp_keepalives_interval = 5; SET LOCAL tcp_keepalives_count = 3", w.lock.Milliseconds(), w.frozen.Milliseconds())
}

// isLocked says whether a transaction has waited for too long for another one.
func isLocked(err error) bool {
	said := (*pgconn.PgError)(nil)
	return errors.As(err, &said) && said.Code == "55P03"
}

// release ends the connection of a worker that holds a lane and is frozen within a COPY: no timeout of the server is for that. It is one of the
// same user and program, has held the lane for long, and the server waits for it to send. A worker that was not frozen after all stores again.
func (t *Target) release(ctx context.Context, lane string, locked error) error {
	// Who moves a place has its transaction in xmax of the row.
	rows, err := t.pool.Query(ctx, `SELECT pg_terminate_backend(a.pid) FROM `+quoted(t.settings.PlacesTable)+` p
		JOIN pg_stat_activity a ON a.backend_xid::text = p.xmax::text
		WHERE p.lane = $1 AND a.usename = current_user AND a.application_name = current_setting('application_name')
		AND a.datname = current_database() AND a.wait_event = 'ClientRead' AND clock_timestamp() - a.xact_start > $2::float8 * interval '1 second'`,
		lane, t.waits.frozen.Seconds())
	if err != nil {
		return errors.Join(locked, err)
	}
	ended, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	switch {
	case err != nil:
		return errors.Join(locked, fmt.Errorf("look who holds lane %s: %w", lane, err))
	case len(ended) > 0:
		return fmt.Errorf("a worker that was frozen held lane %s, and its connection is ended now: %w", lane, locked)
	}
	return locked
}
