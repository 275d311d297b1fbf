package config

// Validate configures a validate stage.
type Validate struct {
	// Rules are CEL expressions over the variable `event`; an event is valid when all are true.
	Rules []Rule `json:"rules,omitempty"`
	// RequiredAttributes name event attributes that must be set (id, source, type, time, ...).
	RequiredAttributes []string `json:"requiredAttributes,omitempty"`
	// MaxFuture and MaxAge bound the event time relative to the clock; 0 = unbounded.
	MaxFuture Duration `json:"maxFuture,omitempty"`
	MaxAge    Duration `json:"maxAge,omitempty"`
	// Dedupe drops events whose id was seen within the window; nil = off.
	Dedupe *Dedupe `json:"dedupe,omitempty"`
}

// Rule is one CEL rule.
type Rule struct {
	Expression string `json:"expression"`
	Message    string `json:"message"`
}

// Dedupe configures the removal of duplicates by source and id.
type Dedupe struct {
	Window Duration `json:"window"`
	// MaxEntries bounds the memory: the oldest ids are forgotten first, and counted.
	MaxEntries int `json:"maxEntries"`
}

// Dedupes says whether the stage drops duplicates: then it knows the ids that it has seen.
func (c *StageConfig) Dedupes() bool { return c.Validate != nil && c.Validate.Dedupe != nil }
