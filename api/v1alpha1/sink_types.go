package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SinkSpec keeps events outside of the pipeline, in one target.
//
// +kubebuilder:validation:XValidation:rule="[has(self.postgres), has(self.file), has(self.http), has(self.nats)].filter(x, x).size() == 1",message="set exactly one of postgres, file, http, nats: it is the target of the sink"
type SinkSpec struct {
	// postgres keeps events as rows of a table, each exactly once.
	// +optional
	Postgres *PostgresSinkSpec `json:"postgres,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// file keeps events as lines of a file, each exactly once.
	// +optional
	File *FileSinkSpec `json:"file,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// http sends events to a server, each at least once.
	// +optional
	HTTP *HTTPSinkSpec `json:"http,omitempty"`
	// nats publishes events on a subject of another stream, each at least once, and once within its duplicate window.
	// +optional
	NATS *NATSSinkSpec `json:"nats,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
}

// SecretKeySelector names a value of a Secret in the same namespace.
type SecretKeySelector struct {
	// name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +required
	Name string `json:"name,omitempty"`
	// key of the value.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +required
	Key string `json:"key,omitempty"`
}

// PostgresSinkSpec is a table of a PostgreSQL database.
type PostgresSinkSpec struct {
	// urlSecretRef has the connection URL: postgres://user:password@host/database.
	// +required
	URLSecretRef SecretKeySelector `json:"urlSecretRef,omitzero"`
	// table of the events: [schema.]name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=127
	// +kubebuilder:validation:Pattern=`^([a-zA-Z_][a-zA-Z0-9_]{0,62}\.)?[a-zA-Z_][a-zA-Z0-9_]{0,62}$`
	// +required
	Table string `json:"table,omitempty"`
	// placesTable says up to where lanes have stored. Default: millrace_places.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=127
	// +kubebuilder:validation:Pattern=`^([a-zA-Z_][a-zA-Z0-9_]{0,62}\.)?[a-zA-Z_][a-zA-Z0-9_]{0,62}$`
	// +optional
	PlacesTable string `json:"placesTable,omitempty"`
	// createTable makes tables and columns that are missing. Default: false.
	// +optional
	CreateTable bool `json:"createTable,omitempty"` //nolint:kubeapilinter // unset and false are the same
	// columns to fill. Default: id, source, type, subject, time, severity, event.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Columns []SinkColumn `json:"columns,omitempty"`
}

// SinkColumn is a column of a table.
//
// +kubebuilder:validation:XValidation:rule="has(self.expression) || self.type == 'JSON'",message="expression is required, unless type is JSON: then the column holds the whole event"
type SinkColumn struct {
	// name of the column.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-zA-Z_][a-zA-Z0-9_]*$`
	// +required
	Name string `json:"name,omitempty"`
	// type that the expression yields.
	// +required
	Type ColumnType `json:"type,omitempty"`
	// expression is CEL over the variable event.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Expression string `json:"expression,omitempty"`
}

// ColumnType is the type of a column that an expression fills.
//
// +kubebuilder:validation:Enum=Text;Int;Double;Bool;Timestamp;JSON
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

// FileSinkSpec is a file on a disk of the worker.
type FileSinkSpec struct {
	// path of the file; that of a lane of several gets the lane's number.
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') && !self.endsWith('/') && !self.split('/').exists(p, p in ['.', '..'])",message="must be an absolute path of a file, without . and .."
	// +required
	Path string `json:"path,omitempty"`
	// compression of the file. Default: None.
	// +optional
	Compression FileCompression `json:"compression,omitempty"`
	// rotate begins a new file; unset = never.
	// +optional
	Rotate *RotateSpec `json:"rotate,omitempty"`
}

// FileCompression says how a file is compressed.
//
// +kubebuilder:validation:Enum=None;Zstd
type FileCompression string

// The compressions.
const (
	CompressionNone FileCompression = "None"
	CompressionZstd FileCompression = "Zstd"
)

// RotateSpec bounds what is in one file.
//
// +kubebuilder:validation:XValidation:rule="has(self.size) || has(self.age)",message="set at least one of size, age"
type RotateSpec struct {
	// size from which a file is finished, 1Ki to 1Ti.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`
	// age of its first event from which a file is finished, 1s to 720h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('720h')",message="must be a duration from 1s to 720h"
	// +optional
	Age *metav1.Duration `json:"age,omitempty"`
}

// HTTPSinkSpec is an HTTP server that takes CloudEvents.
//
// +kubebuilder:validation:XValidation:rule="has(self.url) != has(self.urlSecretRef)",message="set exactly one of url, urlSecretRef"
type HTTPSinkSpec struct {
	// url that requests are posted to.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getHostname() != '' && url(self).getScheme() in ['http','https'] && !self.contains('@')",message="must be a URL such as https://example.com/events, without user and password"
	// +optional
	URL string `json:"url,omitempty"`
	// urlSecretRef has the URL where it is secret.
	// +optional
	URLSecretRef *SecretKeySelector `json:"urlSecretRef,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty name
	// format of the body. Default: CloudEventsBatch.
	// +optional
	Format HTTPFormat `json:"format,omitempty"`
	// maxEvents of one message of the input in a request, a power of two up to 512. Default: 128.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=512
	// +kubebuilder:validation:XValidation:rule="self in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]",message="must be a power of two up to 512"
	// +optional
	MaxEvents int32 `json:"maxEvents,omitempty"`
	// timeout of a request, 100ms to 30s. Default: 10s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('30s')",message="must be a duration from 100ms to 30s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// signatureSecretRef has the key that requests are signed with, by Standard Webhooks.
	// +optional
	SignatureSecretRef *SecretKeySelector `json:"signatureSecretRef,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty name
	// headers of each request.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Headers []HTTPHeader `json:"headers,omitempty"`
}

// HTTPHeader is a header of a request.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.valueSecretRef)",message="set exactly one of value, valueSecretRef"
// +kubebuilder:validation:XValidation:rule="!(self.name.lowerAscii() in ['content-type', 'content-length', 'host', 'idempotency-key', 'transfer-encoding']) && !self.name.lowerAscii().startsWith('webhook-')",message="the stage sets this header itself",fieldPath=".name"
type HTTPHeader struct {
	// name of the header.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9_]+$`
	// +required
	Name string `json:"name,omitempty"`
	// value of the header.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[ -~]+$`
	// +optional
	Value string `json:"value,omitempty"`
	// valueSecretRef has the value where it is secret.
	// +optional
	ValueSecretRef *SecretKeySelector `json:"valueSecretRef,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty name
}

// HTTPFormat is what a request holds.
//
// +kubebuilder:validation:Enum=CloudEventsBatch;NDJSON
type HTTPFormat string

// The formats of requests.
const (
	HTTPFormatBatch  HTTPFormat = "CloudEventsBatch"
	HTTPFormatNDJSON HTTPFormat = "NDJSON"
)

// NATSSinkSpec is a subject of another stream.
//
// +kubebuilder:validation:XValidation:rule="has(self.subject) != has(self.subjectExpression)",message="set exactly one of subject, subjectExpression"
type NATSSinkSpec struct {
	// url of the servers, separated by commas, without user and password.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(?i)((nats|tls|ws|wss)://[^@/?#,]+)(,(nats|tls|ws|wss)://[^@/?#,]+)*$')",message="must be URLs such as nats://host:4222 or tls://host, separated by commas, without user and password"
	// +required
	URL string `json:"url,omitempty"`
	// jetStreamDomain is where JetStream is. Default: the servers of url have it themselves.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-_a-zA-Z0-9]+$`
	// +optional
	JetStreamDomain string `json:"jetStreamDomain,omitempty"`
	// subject where events are published.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[^$*> .][^*> .]*(\.[^*> .]+)*$`
	// +optional
	Subject string `json:"subject,omitempty"`
	// subjectExpression is CEL over the variable event that yields the subject of each event.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	SubjectExpression string `json:"subjectExpression,omitempty"`
	// stream has to be the one that takes the events. Default: whichever does.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[^*>. /\\]+$`
	// +optional
	Stream string `json:"stream,omitempty"`
	// credentialsSecretRef has a .creds file. Default: the sink logs in as nobody.
	// +optional
	CredentialsSecretRef *SecretKeySelector `json:"credentialsSecretRef,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty name
	// caSecretRef has the certificates that sign the server's, in PEM. Default: those of the image.
	// +optional
	CASecretRef *SecretKeySelector `json:"caSecretRef,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty name
}
