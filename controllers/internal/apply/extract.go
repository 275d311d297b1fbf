package apply

import (
	"encoding/json"
	"strings"
)

// The prefixes of the keys of a FieldsV1 tree (sigs.k8s.io/structured-merge-diff,
// fieldpath/serialize-pe.go).
const (
	prefixField = "f:" // a member of a struct or map
	prefixKey   = "k:" // an element of a list, by its key members
	prefixValue = "v:" // an element of a set
	self        = "."  // the element as such
)

// extract cuts the named fields out of a live value. want is what is desired at the same
// place: where a field has no members of its own and an empty map is desired, members that
// the server or others added do not count.
func extract(live any, fields map[string]any, want any) any {
	if isLeaf(fields) {
		if m, ok := want.(map[string]any); ok && len(m) == 0 && isMap(live) {
			return m
		}
		return live
	}
	switch live := live.(type) {
	case map[string]any:
		return extractMap(live, fields, want)
	case []any:
		return extractList(live, fields, want)
	default:
		return live
	}
}

func extractMap(live, fields map[string]any, want any) map[string]any {
	wanted, _ := want.(map[string]any)
	out := map[string]any{}
	for key, sub := range fields {
		name, ok := strings.CutPrefix(key, prefixField)
		if !ok {
			continue
		}
		if value, exists := live[name]; exists {
			out[name] = extract(value, tree(sub), wanted[name])
		}
	}
	return out
}

func extractList(live []any, fields map[string]any, want any) []any {
	wanted, _ := want.([]any)
	out := []any{}
	for _, item := range live {
		for key, sub := range fields {
			if !matches(item, key) {
				continue
			}
			out = append(out, extract(item, tree(sub), find(wanted, key)))
			break
		}
	}
	return out
}

// matches reports whether a list element is the one that a FieldsV1 key names.
func matches(item any, key string) bool {
	if value, ok := strings.CutPrefix(key, prefixValue); ok {
		encoded, err := json.Marshal(item)
		return err == nil && string(encoded) == value
	}
	encoded, ok := strings.CutPrefix(key, prefixKey)
	if !ok {
		return false
	}
	var keys map[string]any
	if json.Unmarshal([]byte(encoded), &keys) != nil {
		return false
	}
	object, ok := item.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range keys {
		if object[name] != value {
			return false
		}
	}
	return true
}

func find(list []any, key string) any {
	for _, item := range list {
		if matches(item, key) {
			return item
		}
	}
	return nil
}

// emptied is the merge patch that removes the owned members of maps that are wanted empty.
func emptied(want, fields map[string]any) map[string]any {
	patch := map[string]any{}
	for key, sub := range fields {
		name, ok := strings.CutPrefix(key, prefixField)
		value, wanted := want[name].(map[string]any)
		if !ok || !wanted || isLeaf(tree(sub)) {
			continue
		}
		if len(value) > 0 {
			if below := emptied(value, tree(sub)); len(below) > 0 {
				patch[name] = below
			}
			continue
		}
		gone := map[string]any{}
		for member := range tree(sub) {
			if m, ok := strings.CutPrefix(member, prefixField); ok {
				gone[m] = nil
			}
		}
		patch[name] = gone
	}
	return patch
}

func isLeaf(fields map[string]any) bool {
	for key := range fields {
		if key != self {
			return false
		}
	}
	return true
}

func isMap(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

func tree(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
