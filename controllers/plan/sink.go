package plan

import (
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
)

// defaultPlacesTable is where sinks keep the places of their lanes in a database.
const defaultPlacesTable = "millrace_places"

func (c *computation) sink(s *v1alpha1.SinkSpec, path *field.Path) *config.Sink {
	switch {
	case s.Postgres != nil:
		return &config.Sink{Postgres: c.postgresSink(s.Postgres, path.Child("postgres"))}
	case s.File != nil:
		return &config.Sink{File: c.fileSink(s.File, path.Child("file"))}
	case s.HTTP != nil:
		return &config.Sink{HTTP: httpSink(s.HTTP)}
	case s.NATS != nil:
		return &config.Sink{NATS: c.natsSink(s.NATS, path.Child("nats"))}
	}
	c.refuse(field.Required(path, "set one of postgres, file, http, nats"))
	return &config.Sink{}
}

// secretFile is where workers find a value of a Secret.
func secretFile(s v1alpha1.SecretKeySelector) config.SecretFile {
	return config.NewSecretFile(s.Name, s.Key)
}

// sinkSecrets are the values of Secrets that a sink names.
func sinkSecrets(s *v1alpha1.SinkSpec) (files []config.SecretFile) {
	add := func(ref *v1alpha1.SecretKeySelector) {
		if ref != nil {
			files = append(files, secretFile(*ref))
		}
	}
	switch {
	case s.Postgres != nil:
		add(&s.Postgres.URLSecretRef)
	case s.NATS != nil:
		add(s.NATS.CredentialsSecretRef)
		add(s.NATS.CASecretRef)
	case s.HTTP != nil:
		add(s.HTTP.URLSecretRef)
		add(s.HTTP.SignatureSecretRef)
		files = append(files, headerSecrets(s.HTTP.Headers)...)
	}
	return files
}

// headerSecrets are the values of Secrets that headers name.
func headerSecrets(headers []v1alpha1.HTTPHeader) (files []config.SecretFile) {
	for i := range headers {
		if ref := headers[i].ValueSecretRef; ref != nil {
			files = append(files, secretFile(*ref))
		}
	}
	return files
}

func (c *computation) natsSink(s *v1alpha1.NATSSinkSpec, path *field.Path) *config.NATSSink {
	n := &config.NATSSink{
		URL: s.URL, JetStreamDomain: config.Domain(s.JetStreamDomain), Subject: s.Subject, SubjectExpression: s.SubjectExpression, Stream: s.Stream,
		CredentialsFile: fileOf(s.CredentialsSecretRef), CAFile: fileOf(s.CASecretRef),
	}
	if s.SubjectExpression != "" {
		c.checkExpressionFor(s.SubjectExpression, celenv.String, path.Child("subjectExpression"))
	} else if err := config.CheckSubject(s.Subject); err != nil {
		c.refuse(field.Invalid(path.Child("subject"), s.Subject, err.Error()))
	}
	return n
}

func (c *computation) postgresSink(s *v1alpha1.PostgresSinkSpec, path *field.Path) *config.PostgresSink {
	p := &config.PostgresSink{
		URLFile: secretFile(s.URLSecretRef).File, Table: s.Table, PlacesTable: or(s.PlacesTable, defaultPlacesTable), CreateTable: s.CreateTable,
		Columns: c.sinkColumns(s.Columns, path.Child("columns")),
	}
	if p.Table == p.PlacesTable {
		c.refuse(field.Invalid(path.Child("placesTable"), p.PlacesTable, "is the table of the events: the places of lanes need a table of their own"))
	}
	return p
}

// sinkColumns are the columns of the manifest, or those of a table of events.
func (c *computation) sinkColumns(from []v1alpha1.SinkColumn, path *field.Path) (columns []config.SinkColumn) {
	if len(from) == 0 {
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
	for i, column := range from {
		if column.Expression != "" {
			c.checkExpressionFor(column.Expression, yielded(column.Type), path.Index(i).Child("expression"))
		}
		columns = append(columns, config.SinkColumn{Name: column.Name, Type: config.ColumnType(column.Type), Expression: column.Expression})
	}
	return columns
}

// yielded is what an expression yields that fills a column.
func yielded(t v1alpha1.ColumnType) celenv.Result {
	switch t {
	case v1alpha1.ColumnInt:
		return celenv.Int
	case v1alpha1.ColumnDouble:
		return celenv.Double
	case v1alpha1.ColumnBool:
		return celenv.Bool
	case v1alpha1.ColumnTimestamp:
		return celenv.Scalar
	case v1alpha1.ColumnJSON:
		return celenv.Map
	}
	return celenv.String
}

// Bounds of the size of a file: a rule of the API that reads quantities would cost too much in 64 stages.
const (
	minFileSize = 1 << 10
	maxFileSize = 1 << 40
)

func (c *computation) fileSink(s *v1alpha1.FileSinkSpec, path *field.Path) *config.FileSink {
	f := &config.FileSink{Path: s.Path}
	if s.Compression == v1alpha1.CompressionZstd {
		f.Compression = config.CompressionZstd
	}
	if s.Rotate != nil {
		f.RotateAge = duration(s.Rotate.Age, 0)
		if s.Rotate.Size != nil {
			if f.RotateSize = s.Rotate.Size.Value(); f.RotateSize < minFileSize || f.RotateSize > maxFileSize {
				c.refuse(field.Invalid(path.Child("rotate", "size"), s.Rotate.Size.String(), "must be a size from 1Ki to 1Ti"))
			}
		}
	}
	return f
}

func httpSink(s *v1alpha1.HTTPSinkSpec) *config.HTTPSink {
	h := &config.HTTPSink{
		URL: s.URL, URLFile: fileOf(s.URLSecretRef), SignatureFile: fileOf(s.SignatureSecretRef), Format: config.FormatBatch,
		MaxEvents: int(or(s.MaxEvents, 128)), Timeout: duration(s.Timeout, 10*time.Second), Headers: httpHeaders(s.Headers),
	}
	if s.Format == v1alpha1.HTTPFormatNDJSON {
		h.Format = config.FormatNDJSON
	}
	return h
}

func httpHeaders(from []v1alpha1.HTTPHeader) (to []config.HTTPHeader) {
	for _, h := range from {
		to = append(to, config.HTTPHeader{Name: h.Name, Value: h.Value, ValueFile: fileOf(h.ValueSecretRef)})
	}
	return to
}

// fileOf is where workers find a value of a Secret that may be named; empty = none is.
func fileOf(ref *v1alpha1.SecretKeySelector) string {
	if ref == nil {
		return ""
	}
	return secretFile(*ref).File
}
