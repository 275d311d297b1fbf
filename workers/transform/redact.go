package transform

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

const (
	mask       = "***"
	minHashKey = 16 // bytes
	hashBytes  = 16 // of the 32 of SHA-256
)

func newRedact(c *config.TransformRedact) (func(*event.Event) (bool, error), error) {
	hide, err := hider(c)
	if err != nil {
		return nil, err
	}
	var redacts []func(*event.Event)
	for i, field := range c.Fields {
		at, isEntry := entryOf(field)
		switch {
		case isEntry:
			redacts = append(redacts, func(e *event.Event) {
				if v, ok := e.Get(at.of, at.key); ok {
					e.Set(at.of, at.key, event.StringValue(hide(v.Text())))
				}
			})
		case field == "body":
			redacts = append(redacts, func(e *event.Event) { e.SetBody(hide(e.Body)) })
		case field == "subject":
			redacts = append(redacts, func(e *event.Event) { e.SetSubject(hide(e.Subject)) })
		default:
			return nil, fmt.Errorf(".redact.fields[%d]: field %q is none that can be redacted", i, field)
		}
	}
	return func(e *event.Event) (bool, error) {
		for _, redact := range redacts {
			redact(e)
		}
		return true, nil
	}, nil
}

// hider returns what makes a text unreadable. An empty one stays empty.
func hider(c *config.TransformRedact) (func(string) string, error) {
	whole := func(string) string { return mask }
	switch c.Method {
	case config.RedactMask:
	case config.RedactHash:
		key, err := os.ReadFile(c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf(".redact.keyFile: %w", err)
		}
		if key = bytes.TrimSpace(key); len(key) < minHashKey {
			return nil, fmt.Errorf(".redact.keyFile: %s holds a key of %d bytes, must have at least %d", c.KeyFile, len(key), minHashKey)
		}
		whole = func(s string) string {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(s))
			return hex.EncodeToString(mac.Sum(nil)[:hashBytes])
		}
	default:
		return nil, fmt.Errorf(".redact.method: is %q, must be %s or %s", c.Method, config.RedactHash, config.RedactMask)
	}
	if c.Pattern == "" {
		return func(s string) string {
			if s == "" {
				return ""
			}
			return whole(s)
		}, nil
	}
	pattern, err := regexp.Compile(c.Pattern)
	if err != nil {
		return nil, fmt.Errorf(".redact.pattern: %w", err)
	}
	return func(s string) string { return pattern.ReplaceAllStringFunc(s, whole) }, nil
}
