package sink_test

import (
	"path/filepath"
	"strings"
	"testing"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/sink"
	"millrace.dev/millrace/workers/stage"
)

func postgresSink() *config.PostgresSink {
	return &config.PostgresSink{URLFile: "pg/url", Table: "events", PlacesTable: "places", Columns: []config.SinkColumn{
		{Name: "id", Type: config.ColumnText, Expression: "event.id"},
		{Name: "code", Type: config.ColumnInt, Expression: "event.attributes.code"},
		{Name: "event", Type: config.ColumnJSON},
	}}
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]config.Sink{
		"postgres": {Postgres: postgresSink()},
		"file":     {File: &config.FileSink{Path: filepath.Join(t.TempDir(), "events.ndjson"), Compression: config.CompressionZstd}},
	} {
		t.Run(name, func(t *testing.T) {
			stagetest.Run(t, stagetest.Suite{Factory: sink.NewFactory(), Config: config.StageConfig{Sink: &c}})
		})
	}
}

// TestWrongSettings are refused by the path of what is wrong.
func TestWrongSettings(t *testing.T) {
	changed := func(change func(*config.PostgresSink)) config.Sink {
		c := postgresSink()
		change(c)
		return config.Sink{Postgres: c}
	}
	for want, c := range map[string]config.Sink{
		"sink: has 0 targets":         {},
		"sink: has 2 targets":         {Postgres: postgresSink(), File: &config.FileSink{Path: "/x"}},
		"sink.postgres.urlFile":       changed(func(c *config.PostgresSink) { c.URLFile = "" }),
		"sink.postgres.table":         changed(func(c *config.PostgresSink) { c.Table = `a"; DROP TABLE b` }),
		"sink.postgres.placesTable":   changed(func(c *config.PostgresSink) { c.PlacesTable = "" }),
		"sink.postgres.columns: is":   changed(func(c *config.PostgresSink) { c.Columns = nil }),
		"sink.postgres.columns[0]: a": changed(func(c *config.PostgresSink) { c.Columns[0].Expression = "" }),
		"sink.postgres.columns[1]":    changed(func(c *config.PostgresSink) { c.Columns[1].Expression = "event.nothing" }),
		"sink.file.path":              {File: &config.FileSink{Path: "relative"}},
		"sink.file.compression":       {File: &config.FileSink{Path: "/x", Compression: "Gzip"}},
		"sink.file.rotateSize":        {File: &config.FileSink{Path: "/x", RotateSize: -1}},
		"sink.file.rotateAge":         {File: &config.FileSink{Path: "/x", RotateAge: -1}},
	} {
		if _, err := sink.NewFactory().New(stage.Settings{Config: &config.StageConfig{Sink: &c}}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
