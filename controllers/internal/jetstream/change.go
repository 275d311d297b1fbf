package jetstream

import (
	"fmt"
	"strings"
	"time"
)

// Action is what a comparison decided.
type Action string

// The actions.
const (
	// ActionNone: the asset is as wanted; nothing is sent.
	ActionNone Action = "none"
	// ActionCreate: the asset does not exist.
	ActionCreate Action = "create"
	// ActionUpdate: fields differ that may be changed in place.
	ActionUpdate Action = "update"
	// ActionImmutable: a field differs that JetStream cannot change. Refused.
	ActionImmutable Action = "immutable"
	// ActionNotOwned: the asset exists and is somebody else's. Refused.
	ActionNotOwned Action = "not-owned"
)

// Refused reports whether a person has to decide.
func (a Action) Refused() bool { return a == ActionImmutable || a == ActionNotOwned }

// Field is one difference. Name is JetStream's own name of the field.
type Field struct{ Name, Have, Want string }

func (f Field) String() string { return fmt.Sprintf("%s: %s -> %s", f.Name, f.Have, f.Want) }

// Fields are the differences of one asset, in a stable order.
type Fields []Field

func (f Fields) String() string {
	parts := make([]string, len(f))
	for i, field := range f {
		parts[i] = field.String()
	}
	return strings.Join(parts, ", ")
}

// differ collects differences.
type differ struct{ mutable, immutable Fields }

func (d *differ) change(name string, have, want any) {
	if h, w := text(have), text(want); h != w {
		d.mutable = append(d.mutable, Field{Name: name, Have: h, Want: w})
	}
}

func (d *differ) fixed(name string, have, want any) {
	if h, w := text(have), text(want); h != w {
		d.immutable = append(d.immutable, Field{Name: name, Have: h, Want: w})
	}
}

// decide turns the differences into an action: what cannot be changed comes first.
func (d *differ) decide() (Action, Fields) {
	switch {
	case len(d.immutable) > 0:
		return ActionImmutable, d.immutable
	case len(d.mutable) > 0:
		return ActionUpdate, d.mutable
	default:
		return ActionNone, nil
	}
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		if v == "" {
			return "none"
		}
		return v
	case []string:
		if len(v) == 0 {
			return "none"
		}
		return strings.Join(v, " ")
	case time.Duration:
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}
