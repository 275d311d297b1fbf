package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"millrace.dev/millrace/workers/config"
)

// move moves the place of a lane. Of two that move it from the same place, the second waits for the first and finds another place.
func (t *Target) move(ctx context.Context, tx pgx.Tx, lane, from, to string) error {
	places := quoted(t.settings.PlacesTable)
	sql, args := "UPDATE "+places+" SET place = $1, updated = now() WHERE lane = $2 AND place = $3", []any{to, lane, from}
	if from == "" {
		sql, args = "INSERT INTO "+places+" (lane, place) VALUES ($2, $1) ON CONFLICT (lane) DO NOTHING", args[:2]
	}
	done, err := tx.Exec(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("move the place of lane %s: %w", lane, err)
	}
	if done.RowsAffected() != 1 {
		return fmt.Errorf("lane %s does not stand at %q in table %s", lane, from, t.settings.PlacesTable)
	}
	return nil
}

// prepare makes what is missing, if it is asked to, and says what is missing otherwise. It does so once.
func (t *Target) prepare(ctx context.Context) error {
	t.preparing.Lock()
	defer t.preparing.Unlock()
	if t.prepared {
		return nil
	}
	if err := t.transaction(ctx, func(tx pgx.Tx) error {
		if t.settings.CreateTable {
			if err := t.create(ctx, tx); err != nil {
				return err
			}
		}
		return t.verify(ctx, tx)
	}); err != nil {
		return err
	}
	t.prepared = true
	return nil
}

// create makes tables and columns. Workers that start at once do so one after another.
func (t *Target) create(ctx context.Context, tx pgx.Tx) error {
	events, places := quoted(t.settings.Table), quoted(t.settings.PlacesTable)
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", "millrace "+t.settings.PlacesTable); err != nil {
		return fmt.Errorf("wait for other workers that make tables: %w", err)
	}
	var columns []string
	for _, c := range t.columns {
		columns = append(columns, quoted(c.name)+" "+sqlType(c.kind))
	}
	for _, sql := range append([]string{
		// Each step updates one row: half of a page is left free, so that no index has to change.
		"CREATE TABLE IF NOT EXISTS " + places + " (lane text PRIMARY KEY, place text NOT NULL, updated timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 50)",
		"CREATE TABLE IF NOT EXISTS " + events + " (" + strings.Join(columns, ", ") + ")",
	}, t.addColumns(ctx, tx)...) {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make table %s or %s: %w", t.settings.Table, t.settings.PlacesTable, err)
		}
	}
	return nil
}

// addColumns adds what a table of before lacks. It is asked first: ALTER TABLE waits for all who read the table.
func (t *Target) addColumns(ctx context.Context, tx pgx.Tx) (sql []string) {
	have, err := columnsOf(ctx, tx, t.settings.Table)
	if err != nil || len(have) == 0 {
		return nil // verify says what is wrong
	}
	for _, c := range t.columns {
		if !have[c.name] {
			sql = append(sql, "ALTER TABLE "+quoted(t.settings.Table)+" ADD COLUMN IF NOT EXISTS "+quoted(c.name)+" "+sqlType(c.kind))
		}
	}
	return sql
}

// verify says which table or column is missing.
func (t *Target) verify(ctx context.Context, tx pgx.Tx) error {
	want := map[string][]string{t.settings.PlacesTable: {"lane", "place", "updated"}}
	for _, c := range t.columns {
		want[t.settings.Table] = append(want[t.settings.Table], c.name)
	}
	for table, columns := range want {
		have, err := columnsOf(ctx, tx, table)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return fmt.Errorf("there is no table %s: make it, or set createTable", table)
		}
		for _, c := range columns {
			if !have[c] {
				return fmt.Errorf("table %s has no column %s: add it, or set createTable", table, c)
			}
		}
	}
	return nil
}

// columnsOf are the columns of a table; none where there is no such table.
func columnsOf(ctx context.Context, tx pgx.Tx, table string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped", quoted(table))
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", table, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", table, err)
	}
	have := map[string]bool{}
	for _, name := range names {
		have[name] = true
	}
	return have, nil
}

// sqlType is the type of a column that is made.
func sqlType(t config.ColumnType) string {
	switch t {
	case config.ColumnInt:
		return "bigint"
	case config.ColumnDouble:
		return "double precision"
	case config.ColumnBool:
		return "boolean"
	case config.ColumnTimestamp:
		return "timestamptz"
	case config.ColumnJSON:
		return "jsonb"
	}
	return "text"
}
