package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

const (
	// maxConnections is how many lanes of a worker store at once; others wait.
	maxConnections = 8
	connectTimeout = 10 * time.Second
)

// Target keeps events as rows of a table.
type Target struct {
	settings config.PostgresSink
	columns  []column
	copyFrom string
	now      func() time.Time
	pool     *pgxpool.Pool
	waits    waits

	preparing sync.Mutex
	prepared  bool
}

// New compiles the columns. now is the clock. It touches neither files nor the network.
func New(c *config.PostgresSink, now func() time.Time) (*Target, error) {
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	t := &Target{settings: *c, now: now, waits: defaultWaits}
	names := make([]string, len(c.Columns))
	for i, from := range c.Columns {
		made, err := newColumn(env, from)
		if err != nil {
			return nil, fmt.Errorf("sink.postgres.columns[%d]: %w", i, err)
		}
		t.columns, names[i] = append(t.columns, made), quoted(from.Name)
	}
	t.copyFrom = fmt.Sprintf("COPY %s (%s) FROM STDIN", quoted(c.Table), strings.Join(names, ", "))
	return t, nil
}

// quoted is the name of a table or column in SQL.
func quoted(name string) string { return pgx.Identifier(strings.Split(name, ".")).Sanitize() }

// Open makes the pool, which connects when it is asked.
func (t *Target) Open(ctx context.Context) error {
	pool, err := pgxpool.ParseConfig("")
	if err != nil {
		return err
	}
	pool.MaxConns, pool.MinConns = maxConnections, 0
	pool.BeforeConnect = func(_ context.Context, to *pgx.ConnConfig) error {
		from, err := t.connection()
		if err == nil {
			*to = *from
		}
		return err
	}
	t.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), pool)
	return err
}

// connection reads the URL: a Secret may have changed.
func (t *Target) connection() (*pgx.ConnConfig, error) {
	url, err := os.ReadFile(t.settings.URLFile)
	if err != nil {
		return nil, fmt.Errorf("read the URL of the database: %w", err)
	}
	c, err := pgx.ParseConfig(strings.TrimSpace(string(url)))
	if err != nil {
		// What pgx says has the URL.
		why := errors.New("it is none such as postgres://user:password@host/database")
		if file := (*fs.PathError)(nil); errors.As(err, &file) { // of a certificate
			why = file
		}
		return nil, fmt.Errorf("the URL of the database in %s cannot be used: %w", t.settings.URLFile, why)
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	// Rows are made as UTF-8, whatever the default of the role, the database or the URL is.
	c.RuntimeParams["client_encoding"] = "UTF8"
	// Without prepared statements, a pooler may stand between.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	if _, ok := c.RuntimeParams["application_name"]; !ok {
		c.RuntimeParams["application_name"] = "millrace"
	}
	return c, nil
}

// Close closes the connections.
func (t *Target) Close() { t.pool.Close() }

// Row makes the line of an event, as COPY reads it.
func (t *Target) Row(e *event.Event) (made any, reason string, err error) {
	line, reason, err := row(t.columns, e)
	return line, reason, err
}

// Place asks the table of places.
func (t *Target) Place(ctx context.Context, lane string) (string, error) {
	if err := t.prepare(ctx); err != nil {
		return "", err
	}
	var place string
	err := t.pool.QueryRow(ctx, "SELECT place FROM "+quoted(t.settings.PlacesTable)+" WHERE lane = $1", lane).Scan(&place)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return place, t.missed(err)
}

// Store copies the rows and moves the place, in one transaction.
func (t *Target) Store(ctx context.Context, lane string, rows []any, from, to string) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	err := t.transaction(ctx, func(tx pgx.Tx) error {
		if err := t.move(ctx, tx, lane, from, to); err != nil || len(rows) == 0 {
			return err
		}
		return t.copy(ctx, tx, rows)
	})
	if isLocked(err) {
		return t.release(ctx, lane, err)
	}
	if !ofRow(err) && !maybeOfRow(err) || len(rows) == 0 {
		return t.missed(err)
	}
	refused, failed := t.refused(ctx, lane, rows, from, to, maybeOfRow(err))
	switch {
	case failed != nil:
		return t.missed(failed)
	case refused == nil:
		return fmt.Errorf("the server refuses %d rows, and none of them alone, so no event is to blame: %w", len(rows), t.missed(err))
	}
	return refused
}

// transaction commits what f does, unless it fails.
func (t *Target) transaction(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, t.pool, pgx.TxOptions{BeginQuery: t.waits.begin()}, f)
}

// copy copies rows.
func (t *Target) copy(ctx context.Context, tx pgx.Tx, rows []any) error {
	done, err := tx.Conn().PgConn().CopyFrom(ctx, &lines{rows: rows}, t.copyFrom)
	if err == nil && done.RowsAffected() != int64(len(rows)) {
		err = fmt.Errorf("of %d rows the server has copied %d", len(rows), done.RowsAffected())
	}
	return err
}

// ofRow says whether the server refuses what is in a row. Whatever else is wrong is no row's fault: https://www.postgresql.org/docs/current/errcodes-appendix.html.
func ofRow(err error) bool {
	switch classOf(err) {
	case "22", // data exception
		"23", // integrity constraint violation
		"44", // WITH CHECK OPTION violation
		"54", // program limit exceeded, such as a value that is too large for an index
		"P0": // raised by a function, such as a trigger
		return true
	}
	return false
}

// maybeOfRow says whether a row may be at fault, as a trigger meets it for some rows, or the table: then no row is taken.
func maybeOfRow(err error) bool {
	class := classOf(err)
	return class == "21" || // cardinality violation
		class == "42" // no such table, column or function, no right to it
}

func classOf(err error) string {
	said := (*pgconn.PgError)(nil)
	if !errors.As(err, &said) || len(said.Code) != 5 {
		return ""
	}
	return said.Code[:2]
}

// reasonOf is the reason of the dead letter of a row.
func reasonOf(err error) string {
	said := (*pgconn.PgError)(nil)
	if errors.As(err, &said) && strings.HasPrefix(said.Code, "23") {
		return "constraint_violation"
	}
	return reasonData
}

// missed has the tables looked for again when one of them is not there.
func (t *Target) missed(err error) error {
	said := (*pgconn.PgError)(nil)
	if errors.As(err, &said) && (said.Code == "42P01" || said.Code == "42703" || said.Code == "3F000") {
		t.preparing.Lock()
		t.prepared = false
		t.preparing.Unlock()
	}
	return shorten(err)
}

// refusal is what the server says of a row.
func refusal(i int, err error) stage.RefusedRow {
	return stage.RefusedRow{Row: i, Reason: reasonOf(err), Err: shorten(err)}
}
