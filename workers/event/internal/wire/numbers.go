package wire

// Field numbers of millrace.event.v1.Event.
const (
	FieldID           = 1
	FieldSource       = 2
	FieldType         = 3
	FieldSubject      = 4
	FieldTime         = 5
	FieldObservedTime = 6
	FieldIngestTime   = 7
	FieldSeverity     = 8
	FieldSeverityText = 9
	FieldPartitionKey = 10
	FieldTraceID      = 11
	FieldSpanID       = 12
	FieldParentSpanID = 13
	FieldTraceFlags   = 14
	FieldTraceState   = 15
	FieldEntity       = 16
	FieldRelated      = 17
	FieldBody         = 18
	FieldCount        = 19
	FieldFingerprint  = 20
	FieldResource     = 21
	FieldAttributes   = 22

	FieldMetric     = 24
	FieldLog        = 25
	FieldKubernetes = 26
	FieldNetwork    = 27
	FieldKernel     = 28
	FieldSpan       = 29
	FirstSignal     = FieldMetric
	LastSignal      = 32

	FieldSemantic    = 40
	FieldImpact      = 41
	FieldCorrelation = 42
	FieldEnrichment  = 43
	FieldSpanLinks   = 44

	FieldDataContentType = 50
	FieldDataSchema      = 51
	FieldData            = 52
	FieldExtensions      = 53
)
