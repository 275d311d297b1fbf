package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness/postgres"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	sink "millrace.dev/millrace/workers/sink/postgres"
	"millrace.dev/millrace/workers/stage"
)

func attribute(key string, v any) *eventv1.KeyValue {
	switch x := v.(type) {
	case string:
		return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: x}}
	case int:
		return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_IntValue{IntValue: int64(x)}}
	}
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: v.(float64)}}
}

// made is the row that one column makes of an event, or the reason of its dead letter.
func made(t *testing.T, c config.SinkColumn, e *eventv1.Event) string {
	t.Helper()
	c.Name = "c"
	to, err := sink.New(&config.PostgresSink{Table: "t", Columns: []config.SinkColumn{c}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	view, err := event.FromProto(e, event.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	line, reason, err := to.Row(&view)
	if err != nil {
		return reason
	}
	return strings.TrimSuffix(string(line.([]byte)), "\n")
}

// TestRows: what columns make of events, in the text format of COPY.
func TestRows(t *testing.T) {
	e := &eventv1.Event{
		Id: "a\tb\\c\nd\re", TimeUnixNano: 1_772_366_400_123_456_789, SeverityNumber: 9, Body: "nul\x00",
		Attributes: []*eventv1.KeyValue{attribute("code", 503), attribute("share", 0.5), attribute("inf", math.Inf(-1)), attribute("nan", math.NaN()), attribute("text", "x")},
	}
	for name, c := range map[string]struct {
		column config.SinkColumn
		want   string
	}{
		"text":                       {config.SinkColumn{Type: config.ColumnText, Expression: "event.id"}, `a\tb\\c\nd\re`},
		"text that is made":          {config.SinkColumn{Type: config.ColumnText, Expression: "'<' + event.attributes.text + '>'"}, `<x>`},
		"text that is not set":       {config.SinkColumn{Type: config.ColumnText, Expression: "event.subject"}, `\N`},
		"text with U+0000":           {config.SinkColumn{Type: config.ColumnText, Expression: "event.body"}, "data_exception"},
		"attribute that is missing":  {config.SinkColumn{Type: config.ColumnText, Expression: "event.attributes.none"}, `\N`},
		"key that is missing":        {config.SinkColumn{Type: config.ColumnText, Expression: "event.attributes['none']"}, "expression_error"},
		"key that may be missing":    {config.SinkColumn{Type: config.ColumnInt, Expression: "event.attributes[?'none'].orValue(null)"}, `\N`},
		"number":                     {config.SinkColumn{Type: config.ColumnInt, Expression: "event.severity"}, "9"},
		"number of an attribute":     {config.SinkColumn{Type: config.ColumnInt, Expression: "event.attributes.code"}, "503"},
		"no number":                  {config.SinkColumn{Type: config.ColumnInt, Expression: "event.attributes.text"}, "expression_error"},
		"double":                     {config.SinkColumn{Type: config.ColumnDouble, Expression: "event.attributes.share"}, "0.5"},
		"double without an end":      {config.SinkColumn{Type: config.ColumnDouble, Expression: "event.attributes.inf"}, "-Infinity"},
		"double that is none":        {config.SinkColumn{Type: config.ColumnDouble, Expression: "event.attributes.nan"}, "NaN"},
		"bool":                       {config.SinkColumn{Type: config.ColumnBool, Expression: "event.severity > 8"}, "true"},
		"time":                       {config.SinkColumn{Type: config.ColumnTimestamp, Expression: "event.time"}, "2026-03-01T12:00:00.123456789Z"},
		"time that is null":          {config.SinkColumn{Type: config.ColumnTimestamp, Expression: "event.attributes[?'none'].orValue(null)"}, `\N`},
		"no time":                    {config.SinkColumn{Type: config.ColumnTimestamp, Expression: "event.attributes.code"}, "expression_error"},
		"JSON that is made":          {config.SinkColumn{Type: config.ColumnJSON, Expression: "{'b': event.id, 'a': [1, 0.5]}"}, `{"a":[1,0.5],"b":"a\\tb\\\\c\\nd\\re"}`},
		"JSON with a double of none": {config.SinkColumn{Type: config.ColumnJSON, Expression: "{'b': event.attributes.nan}"}, "data_exception"},
		"JSON with U+0000":           {config.SinkColumn{Type: config.ColumnJSON}, "data_exception"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := made(t, c.column, e); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	e.Body = `text that reads \u0000`
	if got := made(t, config.SinkColumn{Type: config.ColumnJSON}, e); !strings.Contains(got, `text that reads \\\\u0000`) {
		t.Errorf("a backslash before u0000 is taken for U+0000: %s", got)
	}
}

// TestErrorsAreShort: an error has no whole value, which may be large and personal.
func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("personal ", 1000)
	e := &eventv1.Event{Body: long, Attributes: []*eventv1.KeyValue{attribute("text", long)}}
	for _, c := range []config.SinkColumn{
		{Name: "c", Type: config.ColumnTimestamp, Expression: "event.attributes.text.size() > 3"},
		{Name: "c", Type: config.ColumnInt, Expression: "event.attributes.text"},
		{Name: "c", Type: config.ColumnInt, Expression: "int(event.attributes.text)"},
		{Name: "c", Type: config.ColumnInt, Expression: "event.attributes[event.body]"},
		{Name: "c", Type: config.ColumnDouble, Expression: "double(event.body)"},
		{Name: "c", Type: config.ColumnTimestamp, Expression: "timestamp(event.body)"},
		{Name: "c", Type: config.ColumnBool, Expression: "bool(event.body)"},
	} {
		to, err := sink.New(&config.PostgresSink{Table: "t", Columns: []config.SinkColumn{c}}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		view, err := event.FromProto(e, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := to.Row(&view); err == nil || len(err.Error()) > 400 {
			t.Errorf("%s: an error of %d bytes: %.600v", c.Expression, len(fmt.Sprint(err)), err)
		}
	}
}

// refuses: rows of all sorts of trouble between good ones. The good ones are stored, and each of the others is
// refused with the answer of the server.
func refuses(t *testing.T, server *postgres.Server) {
	url := server.Database(t, "refused")
	exec(t, url, `CREATE TABLE other (id text PRIMARY KEY); INSERT INTO other VALUES ('ok');
		CREATE TABLE events (id text UNIQUE, small smallint, at timestamptz, doc jsonb, known text REFERENCES other DEFERRABLE INITIALLY DEFERRED);
		CREATE INDEX ON events (id);
		CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.id = 'trigger' THEN RAISE 'not on sundays'; END IF; RETURN new; END $$;
		CREATE TRIGGER no BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION no()`)
	to := target(t, settings(t, url,
		config.SinkColumn{Name: "id", Type: config.ColumnText, Expression: "event.id"},
		config.SinkColumn{Name: "small", Type: config.ColumnInt, Expression: "event.attributes.small"},
		config.SinkColumn{Name: "at", Type: config.ColumnTimestamp, Expression: "event.attributes.at"},
		config.SinkColumn{Name: "doc", Type: config.ColumnText, Expression: "event.attributes.doc"},
		config.SinkColumn{Name: "known", Type: config.ColumnText, Expression: "event.attributes.known"},
	))
	bad := []struct {
		e            *eventv1.Event
		reason, says string
	}{
		{&eventv1.Event{Id: "range", Attributes: []*eventv1.KeyValue{attribute("small", 70_000)}}, "data_exception", "out of range"},
		{&eventv1.Event{Id: "time", Attributes: []*eventv1.KeyValue{attribute("at", "yesterday"+strings.Repeat(", or so", 1000))}}, "data_exception", "invalid input syntax"},
		{&eventv1.Event{Id: "json", Attributes: []*eventv1.KeyValue{attribute("doc", `{"half":`)}}, "data_exception", "json"},
		{&eventv1.Event{Id: "surrogate", Attributes: []*eventv1.KeyValue{attribute("doc", `"\ud800"`)}}, "data_exception", "json"},
		{&eventv1.Event{Id: "good 1"}, "constraint_violation", "duplicate key"}, // twice in one step: the second
		{&eventv1.Event{Id: "stored"}, "constraint_violation", "duplicate key"},
		{&eventv1.Event{Id: "deferred", Attributes: []*eventv1.KeyValue{attribute("known", "nobody")}}, "constraint_violation", "foreign key"},
		{&eventv1.Event{Id: "trigger"}, "data_exception", "not on sundays"},
		{&eventv1.Event{Id: noise(200_000)}, "data_exception", "index row"},
	}
	if err := to.Store(t.Context(), "lane", []any{row(t, to, &eventv1.Event{Id: "stored"})}, "", "a"); err != nil {
		t.Fatal(err)
	}
	var rows []any
	var want []string
	numbers := map[int]int{} // of the bad ones
	for i := range 900 {
		if i%100 == 50 {
			numbers[len(rows)] = i / 100
			rows = append(rows, row(t, to, bad[i/100].e))
		}
		id := fmt.Sprint("good ", i)
		want = append(want, id)
		rows = append(rows, row(t, to, &eventv1.Event{Id: id, Attributes: []*eventv1.KeyValue{
			attribute("small", i), attribute("at", "2026-03-01T12:00:00Z"), attribute("doc", `{"i":1}`), attribute("known", "ok"),
		}}))
	}
	err := to.Store(t.Context(), "lane", rows, "a", "b")
	refused := (*stage.Refused)(nil)
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	gone := map[int]bool{}
	for _, r := range refused.Rows {
		gone[r.Row] = true
		b := bad[numbers[r.Row]]
		if _, is := numbers[r.Row]; !is || r.Reason != b.reason || !strings.Contains(r.Err.Error(), b.says) || len(r.Err.Error()) > 300 {
			t.Errorf("row %d is refused, reason %s: %v; want %s, %s", r.Row, r.Reason, r.Err, b.reason, b.says)
		}
	}
	if len(refused.Rows) != len(bad) {
		t.Errorf("%d rows are refused, want %d", len(refused.Rows), len(bad))
	}
	var rest []any
	for i, r := range rows {
		if !gone[i] {
			rest = append(rest, r)
		}
	}
	if err := to.Store(t.Context(), "lane", rest, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, query[string](t, url, "SELECT id FROM events WHERE id <> 'stored' ORDER BY small")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// noise is text that does not compress.
func noise(n int) string {
	var b strings.Builder
	for x := uint32(1); b.Len() < n; x = x*1664525 + 1013904223 {
		fmt.Fprintf(&b, "%08x", x)
	}
	return b.String()
}

// blamesNobody: an error of the table, or of all rows together, is the fault of no row; one that a trigger meets for some rows is.
func blamesNobody(t *testing.T, server *postgres.Server) {
	url := server.Database(t, "blame")
	exec(t, url, `CREATE TABLE events (id text, event jsonb);
		CREATE FUNCTION each() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF new.id LIKE 'function%' THEN PERFORM no_such_function(); END IF;
			IF new.id LIKE 'many%' THEN new.id = (SELECT 1 UNION SELECT 2); END IF;
			RETURN new; END $$;
		CREATE TRIGGER each BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION each();
		CREATE FUNCTION all_of_them() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF (SELECT count(*) FROM new WHERE id LIKE 'pair%') > 1 THEN RAISE 'no pairs'; END IF; RETURN null; END $$;
		CREATE TRIGGER all_of_them AFTER INSERT ON events REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION all_of_them()`)
	to := target(t, settings(t, url))
	stores := func(ids ...string) (refused []int, err error) {
		var rows []any
		for _, id := range ids {
			rows = append(rows, row(t, to, &eventv1.Event{Id: id}))
		}
		err = to.Store(t.Context(), "lane", rows, "a", "b")
		if said := (*stage.Refused)(nil); errors.As(err, &said) {
			for _, r := range said.Rows {
				refused = append(refused, r.Row)
			}
		}
		return refused, err
	}
	if err := to.Store(t.Context(), "lane", nil, "", "a"); err != nil {
		t.Fatal(err)
	}
	if refused, err := stores("function 1", "good", "many 1", "fine"); fmt.Sprint(refused) != "[0 2]" {
		t.Errorf("refused %v: %v, want rows 0 and 2", refused, err)
	}
	var broken []string
	for i := range 100 {
		broken = append(broken, fmt.Sprint("function ", i))
	}
	for want, ids := range map[string][]string{
		"no event is to blame: ERROR: no pairs":                  {"pair 1", "pair 2"},
		"no event is to blame: ERROR: function no_such_function": broken,
	} {
		if refused, err := stores(ids...); err == nil || refused != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("refused %v: %v, want %q", refused, err, want)
		}
	}
	exec(t, url, "ALTER TABLE events DROP COLUMN event")
	if refused, err := stores("good"); refused != nil || err == nil {
		t.Errorf("refused %v: %v", refused, err)
	}
}

// TestURLsAreSecret: what is in the file of the URL is in no error.
func TestURLsAreSecret(t *testing.T) {
	for _, url := range []string{"postgres://me:hunter2@host:port/db", "hunter2", "host=a password=hunter2 port=b", "postgres://host/db?sslmode=hunter2"} {
		if _, err := target(t, settings(t, url)).Place(t.Context(), "lane"); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "the URL of the database in") {
			t.Errorf("got %v", err)
		}
	}
}

// searchesLong: a search that takes long ends with those rows that it has found, and the next one goes on.
func searchesLong(t *testing.T, server *postgres.Server) {
	url := server.Database(t, "long")
	exec(t, url, "CREATE TABLE events (id text CHECK (id = ''), event jsonb)")
	to := target(t, settings(t, url))
	var rows []any
	for i := range 3000 {
		rows = append(rows, row(t, to, &eventv1.Event{Id: fmt.Sprint("bad ", i)}))
	}
	if err := to.Store(t.Context(), "lane", nil, "", "a"); err != nil {
		t.Fatal(err)
	}
	var calls int
	for calls = 1; ; calls++ {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		err := to.Store(ctx, "lane", rows, "a", "b")
		cancel()
		refused := (*stage.Refused)(nil)
		switch {
		case errors.As(err, &refused):
			rows = rows[len(refused.Rows):]
		case err != nil:
			t.Fatal(err)
		}
		if err == nil {
			break
		}
	}
	if len(rows) != 0 || calls < 3 {
		t.Errorf("%d rows are left after %d calls", len(rows), calls)
	}
}

// makesTables: what is missing is made, or told.
func makesTables(t *testing.T, server *postgres.Server) {
	url := server.Database(t, "tables")
	c := settings(t, url)
	c.CreateTable = false
	wants := func(text string) {
		t.Helper()
		if _, err := target(t, c).Place(t.Context(), "lane"); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
	wants("there is no table ")
	exec(t, url, "CREATE TABLE millrace_places (lane text PRIMARY KEY, place text NOT NULL, updated timestamptz NOT NULL DEFAULT now())")
	wants("there is no table events: make it, or set createTable")
	exec(t, url, "CREATE TABLE events (id text)")
	wants("table events has no column event: add it, or set createTable")
	c.CreateTable = true
	to := target(t, c)
	if _, err := to.Place(t.Context(), "lane"); err != nil {
		t.Fatal(err)
	}
	exec(t, url, "DROP TABLE events")
	if err := to.Store(t.Context(), "lane", []any{row(t, to, &eventv1.Event{Id: "a"})}, "", "a"); err == nil {
		t.Fatal("stored in a table that is gone")
	}
	if err := to.Store(t.Context(), "lane", []any{row(t, to, &eventv1.Event{Id: "a"})}, "", "a"); err != nil {
		t.Errorf("the table is not made again: %v", err)
	}
	exec(t, url, "ALTER DATABASE tables SET client_encoding = 'LATIN1'")
	if err := target(t, c).Store(t.Context(), "latin", []any{row(t, to, &eventv1.Event{Id: "grün"})}, "", "a"); err != nil {
		t.Error(err)
	}
	if got := query[string](t, url+"&client_encoding=UTF8", "SELECT id FROM events WHERE id LIKE 'gr%'"); len(got) != 1 || got[0] != "grün" {
		t.Errorf("got %q of a database whose clients write Latin 1", got)
	}
	types := query[string](t, url, "SELECT data_type::text FROM information_schema.columns WHERE table_name = 'events' ORDER BY ordinal_position")
	if diff := cmp.Diff([]string{"text", "jsonb"}, types); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// isFrozen: a worker that is frozen within a COPY loses the lane, though not before it has held it for long.
func isFrozen(t *testing.T, server *postgres.Server) {
	url := server.Database(t, "frozen")
	to := target(t, settings(t, url))
	to.SetWaits(300*time.Millisecond, 2*time.Second)
	rows := []any{row(t, to, &eventv1.Event{Id: "a"})}
	if err := to.Store(t.Context(), "lane", nil, "", "a"); err != nil {
		t.Fatal(err)
	}
	frozen, err := pgx.Connect(t.Context(), url+"&application_name=millrace")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := frozen.Exec(t.Context(), "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 2000; UPDATE millrace_places SET place = 'b' WHERE lane = 'lane'"); err != nil {
		t.Fatal(err)
	}
	never, end := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := frozen.PgConn().CopyFrom(t.Context(), never, "COPY events (id) FROM STDIN")
		ended <- err
	}()
	defer end.Close()
	began := time.Now()
	for err = errors.New("not yet"); err != nil && time.Since(began) < 15*time.Second; {
		err = to.Store(t.Context(), "lane", rows, "a", "c")
	}
	if took := time.Since(began); err != nil || took < time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	_ = end.Close()
	if err := <-ended; err == nil {
		t.Error("the frozen worker goes on")
	}
}

// isAway: calls fail, blame no row, and work again when it is back.
func isAway(t *testing.T, server *postgres.Server) {
	url := server.Database(t, "away")
	to := target(t, settings(t, url))
	rows := []any{row(t, to, &eventv1.Event{Id: "a"})}
	if err := to.Store(t.Context(), "lane", rows, "", "a"); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	refused := (*stage.Refused)(nil)
	if err := to.Store(t.Context(), "lane", rows, "a", "b"); err == nil || errors.As(err, &refused) {
		t.Errorf("got %v, want an error that blames no row", err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 10 { // connections of before are found dead one by one
		if err = to.Store(t.Context(), "lane", rows, "a", "b"); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if at, err := to.Place(t.Context(), "lane"); at != "b" || err != nil {
		t.Errorf("the lane stands at %q, error %v", at, err)
	}
}
