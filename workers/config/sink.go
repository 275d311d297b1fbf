package config

import (
	"fmt"
	"strings"
)

// Sink configures a sink stage. Exactly one target is set.
type Sink struct {
	Postgres *PostgresSink `json:"postgres,omitempty"`
	File     *FileSink     `json:"file,omitempty"`
	HTTP     *HTTPSink     `json:"http,omitempty"`
	NATS     *NATSSink     `json:"nats,omitempty"`
}

// PostgresSink is a table of a PostgreSQL database.
type PostgresSink struct {
	// URLFile has the connection URL. It is read again at each connect.
	URLFile string `json:"urlFile"`
	// Table is [schema.]name of the table of events, PlacesTable that of the places of lanes.
	Table       string `json:"table"`
	PlacesTable string `json:"placesTable"`
	// CreateTable makes tables and columns that are missing.
	CreateTable bool         `json:"createTable,omitempty"`
	Columns     []SinkColumn `json:"columns"`
}

// SinkColumn is a column of a table.
type SinkColumn struct {
	Name string     `json:"name"`
	Type ColumnType `json:"type"`
	// Expression is CEL over the variable event; empty = the whole event, as a CloudEvent.
	Expression string `json:"expression,omitempty"`
}

// ColumnType is the type of a column, and of the expression that fills it.
type ColumnType string

// The types of columns.
const (
	ColumnText      ColumnType = "Text"
	ColumnInt       ColumnType = "Int"
	ColumnDouble    ColumnType = "Double"
	ColumnBool      ColumnType = "Bool"
	ColumnTimestamp ColumnType = "Timestamp"
	ColumnJSON      ColumnType = "JSON"
)

// FileSink is a file of CloudEvents, one a line. Where the stage has several lanes, each has a file of its own.
type FileSink struct {
	Path        string      `json:"path"`
	Compression Compression `json:"compression,omitempty"`
	// RotateSize and RotateAge bound what is in one file; 0 = unbounded.
	RotateSize int64    `json:"rotateSize,omitempty"`
	RotateAge  Duration `json:"rotateAge,omitempty"`
}

// Compression says how a file is compressed; empty = it is not.
type Compression string

// CompressionZstd is Zstandard (RFC 8878).
const CompressionZstd Compression = "Zstd"

// HTTPSink is an HTTP server.
type HTTPSink struct {
	// URL is where the events are sent; URLFile has it where it is secret. One of them is set.
	URL     string `json:"url,omitempty"`
	URLFile string `json:"urlFile,omitempty"`
	// Format is what a request holds.
	Format HTTPFormat `json:"format"`
	// MaxEvents is how many events of one message a request has at most.
	MaxEvents int `json:"maxEvents"`
	// Timeout bounds a request with its answer.
	Timeout Duration `json:"timeout"`
	// SignatureFile has the key of the signature (Standard Webhooks 1.0); empty = requests are not signed.
	SignatureFile string       `json:"signatureFile,omitempty"`
	Headers       []HTTPHeader `json:"headers,omitempty"`
}

// NATSSink is a subject of another stream.
type NATSSink struct {
	// URL is one or more server URLs, separated by commas, without user and password.
	URL             string `json:"url"`
	JetStreamDomain Domain `json:"jetStreamDomain,omitempty"`
	// Subject is where events are published. SubjectExpression is CEL that yields it for each event. One of them is set.
	Subject           string `json:"subject,omitempty"`
	SubjectExpression string `json:"subjectExpression,omitempty"`
	// Stream has to be the one that takes the events; empty = whichever does.
	Stream string `json:"stream,omitempty"`
	// CredentialsFile has a .creds file, CAFile the certificates that sign the server's; empty = none, and those of the system.
	CredentialsFile string `json:"credentialsFile,omitempty"`
	CAFile          string `json:"caFile,omitempty"`
}

// CheckSubject refuses what is no subject to publish on: empty tokens, wildcards, blanks, and those that NATS keeps for itself.
func CheckSubject(subject string) error {
	switch {
	case subject == "" || len(subject) > maxSubject:
		return fmt.Errorf("the subject has %d characters, must have 1 to %d", len(subject), maxSubject)
	case subject[0] == '$':
		return fmt.Errorf("subject %q begins with $, which NATS keeps for itself", subject)
	}
	if err := checkTokens(subject); err != nil {
		return fmt.Errorf("subject %q %w", subject, err)
	}
	return nil
}

const maxSubject = 255

// checkTokens refuses empty tokens, wildcards and blanks.
func checkTokens(subject string) error {
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n\x00") {
			return fmt.Errorf("has the token %q: a token has characters, and no *, > or blank", token)
		}
	}
	return nil
}

// HTTPHeader is a header of each request. One of Value and ValueFile is set.
type HTTPHeader struct {
	Name      string `json:"name"`
	Value     string `json:"value,omitempty"`
	ValueFile string `json:"valueFile,omitempty"`
}

// CheckHeaders refuses headers without a name or a value; path names them.
func CheckHeaders(headers []HTTPHeader, path string) error {
	for i, h := range headers {
		if h.Name == "" || (h.Value == "") == (h.ValueFile == "") {
			return fmt.Errorf("%s[%d]: needs a name, and one of value, valueFile", path, i)
		}
	}
	return nil
}

// headerFiles are the files with the values of headers.
func headerFiles(headers []HTTPHeader) (files []*string) {
	for i := range headers {
		if file := &headers[i].ValueFile; *file != "" {
			files = append(files, file)
		}
	}
	return files
}

// HTTPFormat is what a request holds.
type HTTPFormat string

// The formats.
const (
	// FormatBatch is an array of CloudEvents (application/cloudevents-batch+json).
	FormatBatch HTTPFormat = "CloudEventsBatch"
	// FormatNDJSON is one CloudEvent a line (application/x-ndjson).
	FormatNDJSON HTTPFormat = "NDJSON"
)

// sinkSecretFiles are the files with secrets of a sink.
func (c *StageConfig) sinkSecretFiles() (files []*string) {
	add := func(file *string) {
		if *file != "" {
			files = append(files, file)
		}
	}
	switch {
	case c.Sink == nil:
	case c.Sink.Postgres != nil:
		files = append(files, &c.Sink.Postgres.URLFile)
	case c.Sink.NATS != nil:
		add(&c.Sink.NATS.CredentialsFile)
		add(&c.Sink.NATS.CAFile)
	case c.Sink.HTTP != nil:
		h := c.Sink.HTTP
		add(&h.URLFile)
		add(&h.SignatureFile)
		files = append(files, headerFiles(h.Headers)...)
	}
	return files
}
