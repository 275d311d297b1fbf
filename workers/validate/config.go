package validate

import (
	"fmt"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// Fallbacks for what a config leaves open.
const (
	defaultWindow     = 2 * time.Minute
	defaultMaxEntries = 2_000_000
)

// Bounds of what is remembered: the API server holds narrower ones.
const (
	maxWindow  = 30 * 24 * time.Hour
	maxEntries = 100_000_000
)

// check refuses numbers that mean nothing.
func check(c *config.Validate) error {
	switch {
	case c.MaxFuture < 0:
		return fmt.Errorf("validate.maxFuture: is %s, must not be negative", c.MaxFuture.D())
	case c.MaxAge < 0:
		return fmt.Errorf("validate.maxAge: is %s, must not be negative", c.MaxAge.D())
	case c.Dedupe == nil:
		return nil
	case c.Dedupe.Window < 0 || c.Dedupe.Window.D() > maxWindow:
		return fmt.Errorf("validate.dedupe.window: is %s, must be between 0 (the default, %s) and %s", c.Dedupe.Window.D(), defaultWindow, maxWindow)
	case c.Dedupe.MaxEntries < 0 || c.Dedupe.MaxEntries > maxEntries:
		return fmt.Errorf("validate.dedupe.maxEntries: is %d, must be between 0 (the default, %d) and %d", c.Dedupe.MaxEntries, defaultMaxEntries, maxEntries)
	}
	return nil
}

// attribute tells whether an event has an attribute that may be required.
type attribute struct {
	name string
	set  func(e *event.Event) bool
}

var attributes = map[string]func(e *event.Event) bool{
	"id":           func(e *event.Event) bool { return e.ID != "" },
	"source":       func(e *event.Event) bool { return e.Source != "" },
	"type":         func(e *event.Event) bool { return e.Type != "" },
	"subject":      func(e *event.Event) bool { return e.Subject != "" },
	"time":         func(e *event.Event) bool { return e.Time != 0 },
	"severity":     func(e *event.Event) bool { return e.Severity != 0 },
	"body":         func(e *event.Event) bool { return e.Body != "" },
	"entity":       func(e *event.Event) bool { return e.Entity.Name != "" || e.Entity.UID != "" },
	"partitionkey": func(e *event.Event) bool { return e.PartitionKey != "" },
	"traceparent":  func(e *event.Event) bool { return len(e.TraceID) > 0 },
}

func required(c *config.Validate) ([]attribute, error) {
	var out []attribute
	for i, name := range c.RequiredAttributes {
		set, ok := attributes[name]
		if !ok {
			return nil, fmt.Errorf("validate.requiredAttributes[%d]: %q is no attribute that can be required", i, name)
		}
		out = append(out, attribute{name, set})
	}
	return out, nil
}
