package sink

import (
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"
	"regexp"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
)

// check refuses settings that name no target, or one that cannot be.
func check(c *config.Sink) error {
	set := 0
	for _, is := range []bool{c.Postgres != nil, c.File != nil, c.HTTP != nil, c.NATS != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return fmt.Errorf("sink: has %d targets, must have one", set)
	case c.Postgres != nil:
		return checkPostgres(c.Postgres)
	case c.HTTP != nil:
		return checkHTTP(c.HTTP)
	case c.NATS != nil:
		return checkNATS(c.NATS)
	}
	return checkFile(c.File)
}

// table is [schema.]name. SQL has names in quotes, so Events is not events.
var table = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]{0,62}\.)?[a-zA-Z_][a-zA-Z0-9_]{0,62}$`)

func checkPostgres(c *config.PostgresSink) error {
	switch {
	case c.URLFile == "":
		return errors.New("sink.postgres.urlFile: is missing")
	case !table.MatchString(c.Table):
		return fmt.Errorf("sink.postgres.table: %q is no name of a table", c.Table)
	case !table.MatchString(c.PlacesTable):
		return fmt.Errorf("sink.postgres.placesTable: %q is no name of a table", c.PlacesTable)
	case len(c.Columns) == 0:
		return errors.New("sink.postgres.columns: is empty")
	}
	return nil
}

func checkFile(c *config.FileSink) error {
	switch {
	case !filepath.IsAbs(c.Path):
		return fmt.Errorf("sink.file.path: %q is no absolute path", c.Path)
	case c.Compression != "" && c.Compression != config.CompressionZstd:
		return fmt.Errorf("sink.file.compression: %q is unknown", c.Compression)
	case c.RotateSize < 0:
		return fmt.Errorf("sink.file.rotateSize: is %d, must not be negative", c.RotateSize)
	case c.RotateAge < 0:
		return fmt.Errorf("sink.file.rotateAge: is %s, must not be negative", c.RotateAge.D())
	}
	return nil
}

func checkHTTP(c *config.HTTPSink) error {
	switch {
	case (c.URL == "") == (c.URLFile == ""):
		return errors.New("sink.http: set one of url, urlFile")
	case c.Format != config.FormatBatch && c.Format != config.FormatNDJSON:
		return fmt.Errorf("sink.http.format: %q is unknown", c.Format)
	case c.MaxEvents < 1 || c.MaxEvents > 512 || bits.OnesCount(uint(c.MaxEvents)) != 1:
		return fmt.Errorf("sink.http.maxEvents: is %d, must be a power of two up to 512", c.MaxEvents)
	case c.Timeout <= 0:
		return fmt.Errorf("sink.http.timeout: is %s, must be positive", c.Timeout.D())
	}
	return config.CheckHeaders(c.Headers, "sink.http.headers")
}

func checkNATS(c *config.NATSSink) error {
	if err := connect.CheckURL(c.URL); err != nil {
		return fmt.Errorf("sink.nats.url: %w", err)
	}
	if err := c.JetStreamDomain.Check(); err != nil {
		return fmt.Errorf("sink.nats.jetStreamDomain: %w", err)
	}
	if (c.Subject == "") == (c.SubjectExpression == "") {
		return errors.New("sink.nats: set one of subject, subjectExpression")
	}
	if c.Subject == "" {
		return nil
	}
	if err := config.CheckSubject(c.Subject); err != nil {
		return fmt.Errorf("sink.nats.subject: %w", err)
	}
	return nil
}
