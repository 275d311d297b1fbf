package config

// Transform configures a transform stage.
type Transform struct {
	// Steps change an event one after another; each sees what those before it made.
	Steps []TransformStep `json:"steps,omitempty"`
	// Key is CEL that yields the key of what leaves, a string; empty = the key stays.
	Key string `json:"key,omitempty"`
}

// TransformStep is one step; exactly one of its members but When is set.
type TransformStep struct {
	// When is CEL that yields a bool: the step is for events for which it is true; empty = for all.
	When string `json:"when,omitempty"`
	// Filter is CEL that yields a bool: an event for which it is false ends.
	Filter string `json:"filter,omitempty"`
	// Set gives a field a value.
	Set *TransformSet `json:"set,omitempty"`
	// Remove unsets fields.
	Remove []string `json:"remove,omitempty"`
	// Rename gives an entry of a map another key.
	Rename *TransformRename `json:"rename,omitempty"`
	// Redact makes fields unreadable.
	Redact *TransformRedact `json:"redact,omitempty"`
	// Split makes several events of one.
	Split *TransformSplit `json:"split,omitempty"`
}

// A field of an event is type, subject, severity, body, or the entry of a map: attributes.<key>, resource.<key>, extensions.<key>.

// TransformSet gives a field the value of an expression.
type TransformSet struct {
	Field      string `json:"field"`
	Expression string `json:"expression"`
}

// TransformRename moves the value of one field to another one; both are entries of maps.
type TransformRename struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// TransformRedact makes fields unreadable.
type TransformRedact struct {
	Fields []string     `json:"fields"`
	Method RedactMethod `json:"method"`
	// Pattern is a regular expression (RE2) of the parts that are replaced; empty = all of the text.
	Pattern string `json:"pattern,omitempty"`
	// KeyFile holds the key of the hashes: at least 16 bytes.
	KeyFile string `json:"keyFile,omitempty"`
}

// RedactMethod says what stands in place of a text.
type RedactMethod string

// The methods.
const (
	// RedactHash: the first 128 bits of its HMAC-SHA-256, in hex. The same text always has the same one.
	RedactHash RedactMethod = "Hash"
	// RedactMask: ***.
	RedactMask RedactMethod = "Mask"
)

// TransformSplit makes an event of each element of a list.
type TransformSplit struct {
	// List is CEL that yields a list. The entries of an element that is a map become attributes; any other element is set into Into.
	List string `json:"list"`
	Into string `json:"into"`
}

// MaxPieces is how many events a split makes of one at most.
const MaxPieces = 1000

// MaxPieceBytes bounds the pieces of one event together, and MaxSplitEvents how many events a stage that splits is given at
// once: the pieces are in memory until all of them are stored.
const (
	MaxPieceBytes  = 2 << 20
	MaxSplitEvents = 256
)

func (c *StageConfig) transformKeys() []*string {
	var files []*string
	for i := range c.Transform.Steps {
		if r := c.Transform.Steps[i].Redact; r != nil && r.KeyFile != "" {
			files = append(files, &r.KeyFile)
		}
	}
	return files
}
