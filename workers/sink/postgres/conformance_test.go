package postgres_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness/postgres"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	sink "millrace.dev/millrace/workers/sink/postgres"
	"millrace.dev/millrace/workers/stage"
)

// settings are those of a sink whose columns are the id, and a bounded number.
func settings(t testing.TB, url string, columns ...config.SinkColumn) *config.PostgresSink {
	t.Helper()
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if columns == nil {
		columns = []config.SinkColumn{{Name: "id", Type: config.ColumnText, Expression: "event.id"}, {Name: "event", Type: config.ColumnJSON}}
	}
	return &config.PostgresSink{URLFile: file, Table: "events", PlacesTable: "millrace_places", CreateTable: true, Columns: columns}
}

// target is that of a worker of its own. It is closed with the test.
func target(t testing.TB, c *config.PostgresSink) *sink.Target {
	t.Helper()
	made, err := sink.New(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}

func row(t testing.TB, of *sink.Target, e *eventv1.Event) any {
	t.Helper()
	view, err := event.FromProto(e, event.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	made, reason, err := of.Row(&view)
	if err != nil {
		t.Fatalf("%s: %v", reason, err)
	}
	return made
}

func query[T any](t testing.TB, url, sql string) []T {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	rows, err := c.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func exec(t testing.TB, url, sql string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// keeper makes a stage.Sink of a target, as package sink does.
type keeper struct {
	stage.Stage
	*sink.Target
}

// TestServer: one server for all that does not care what befalls it, and then for what does.
func TestServer(t *testing.T) {
	server := postgres.Start(t, postgres.NoSync)
	t.Run("conformance", func(t *testing.T) { conforms(t, server) })
	t.Run("refused rows", func(t *testing.T) { refuses(t, server) })
	t.Run("a search that takes long", func(t *testing.T) { searchesLong(t, server) })
	t.Run("errors that blame nobody", func(t *testing.T) { blamesNobody(t, server) })
	t.Run("tables", func(t *testing.T) { makesTables(t, server) })
	t.Run("a worker that is frozen", func(t *testing.T) { isFrozen(t, server) })
	t.Run("a database that is away", func(t *testing.T) { isAway(t, server) })
}

// conforms: the target passes the suite of all targets.
func conforms(t *testing.T, server *postgres.Server) {
	url := server.Database(t, "conformance")
	exec(t, url, "CREATE TABLE events (id text, event jsonb, CHECK (id <> 'bad'))")
	one := target(t, settings(t, url))
	stagetest.Sink(t, stagetest.Target{
		Sink: func() stage.Sink { return keeper{Target: target(t, settings(t, url))} },
		Row: func(i int) any {
			return row(t, one, &eventv1.Event{Id: strconv.Itoa(i), Body: fmt.Sprint("event ", i)})
		},
		Bad: row(t, one, &eventv1.Event{Id: "bad"}),
		Rows: func() (numbers []int) {
			for _, id := range query[string](t, url, "SELECT id FROM events ORDER BY ctid") {
				n, err := strconv.Atoi(id)
				if err != nil {
					t.Fatal(err)
				}
				numbers = append(numbers, n)
			}
			return numbers
		},
	})
}
