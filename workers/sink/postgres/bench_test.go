package postgres_test

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness/postgres"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// benchStep is how many events a step has under load.
const benchStep = 8192

func benchColumns() []config.SinkColumn {
	return []config.SinkColumn{
		{Name: "id", Type: config.ColumnText, Expression: "event.id"},
		{Name: "source", Type: config.ColumnText, Expression: "event.source"},
		{Name: "type", Type: config.ColumnText, Expression: "event.type"},
		{Name: "subject", Type: config.ColumnText, Expression: "event.subject"},
		{Name: "time", Type: config.ColumnTimestamp, Expression: "event.time"},
		{Name: "severity", Type: config.ColumnInt, Expression: "event.severity"},
		{Name: "event", Type: config.ColumnJSON},
	}
}

func benchEvents(b *testing.B) (events []event.Event) {
	b.Helper()
	for i := range benchStep {
		e, err := event.FromProto(&eventv1.Event{
			Id: fmt.Sprint("event-", i), Source: "bench", Type: "app.log", Subject: "cart", TimeUnixNano: 1_772_366_400_000_000_000 + uint64(i), SeverityNumber: 9,
			Body:     "order was placed, payment is pending, and the cart has been emptied",
			Resource: []*eventv1.KeyValue{attribute("k8s.pod.name", "cart-7d9c5b7f9-abcde"), attribute("k8s.namespace.name", "shop")},
		}, event.Origin{})
		if err != nil {
			b.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// BenchmarkStore has the sink store steps of 8,192 events, with and without making their rows, and beside it the same rows in a plain COPY, on a server that
// waits for the disk.
func BenchmarkStore(b *testing.B) {
	server := postgres.Start(b)
	events := benchEvents(b)
	rate := func(b *testing.B) { b.ReportMetric(float64(b.N)*benchStep/b.Elapsed().Seconds(), "events/s") }
	url := server.Database(b, "bench")
	to := target(b, settings(b, url, benchColumns()...))
	if _, err := to.Place(b.Context(), "lane"); err != nil {
		b.Fatal(err)
	}
	makeRows := func(b *testing.B) (rows []any) {
		for i := range events {
			row, _, err := to.Row(&events[i])
			if err != nil {
				b.Fatal(err)
			}
			rows = append(rows, row)
		}
		return rows
	}
	b.Run("rows", func(b *testing.B) {
		for b.Loop() {
			makeRows(b)
		}
		rate(b)
	})
	rows := makeRows(b)
	b.Run("COPY", func(b *testing.B) {
		c, err := pgx.Connect(b.Context(), url)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close(b.Context())
		var text bytes.Buffer
		for _, r := range rows {
			_, _ = text.Write(r.([]byte))
		}
		for b.Loop() {
			if _, err := c.PgConn().CopyFrom(b.Context(), bytes.NewReader(text.Bytes()), `COPY events FROM STDIN`); err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
	place, n := "", 0
	store := func(b *testing.B, rows []any) {
		n++
		next := strconv.Itoa(n)
		if err := to.Store(b.Context(), "lane", rows, place, next); err != nil {
			b.Fatal(err)
		}
		place = next
	}
	b.Run("Store", func(b *testing.B) {
		for b.Loop() {
			store(b, rows)
		}
		rate(b)
	})
	b.Run("rows and Store", func(b *testing.B) {
		for b.Loop() {
			store(b, makeRows(b))
		}
		rate(b)
	})
}
