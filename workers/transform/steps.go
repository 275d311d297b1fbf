package transform

import (
	"fmt"
	"strings"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// mapsOf are those of an event, by the first part of a field.
var mapsOf = map[string]event.Map{
	"attributes": event.AttributesMap,
	"resource":   event.ResourceMap,
	"extensions": event.ExtensionsMap,
}

// entry is an entry of a map of an event.
type entry struct {
	of  event.Map
	key string
}

func entryOf(field string) (entry, bool) {
	name, key, found := strings.Cut(field, ".")
	of, known := mapsOf[name]
	return entry{of, key}, found && known && key != ""
}

func newFilter(env *cel.Env, expression string) (func(*event.Event) (bool, error), error) {
	c, err := env.Condition(expression)
	if err != nil {
		return nil, fmt.Errorf(".filter: %w", err)
	}
	return c.Holds, nil
}

func (t *transformer) newSet(env *cel.Env, c *config.TransformSet) (func(*event.Event) (bool, error), error) {
	apply, err := t.setter(env, c)
	if err != nil {
		return nil, fmt.Errorf(".set: %w", err)
	}
	return func(e *event.Event) (bool, error) { return true, apply(e) }, nil
}

func (t *transformer) setter(env *cel.Env, c *config.TransformSet) (func(*event.Event) error, error) {
	switch c.Field {
	case "type":
		return setText(env, c.Expression, (*event.Event).SetType)
	case "body":
		return setText(env, c.Expression, (*event.Event).SetBody)
	case "subject":
		return setText(env, c.Expression, func(e *event.Event, s string) { t.keepingKey(e, func() { e.SetSubject(s) }) })
	case "severity":
		x, err := cel.Compile[int64](env, c.Expression)
		if err != nil {
			return nil, err
		}
		return func(e *event.Event) error {
			n, err := x.Of(e)
			if err == nil && (n < 1 || n > 24) {
				err = fmt.Errorf("expression %s: yields %d, a severity is 1 to 24", c.Expression, n)
			}
			if err != nil {
				return err
			}
			e.SetSeverity(int32(n), event.SeverityText(int32(n)))
			return nil
		}, nil
	}
	to, ok := entryOf(c.Field)
	if !ok {
		return nil, fmt.Errorf("field %q is none that can be set", c.Field)
	}
	x, err := cel.Compile[event.Value](env, c.Expression)
	if err != nil {
		return nil, err
	}
	if v, ok := x.Literal(); ok && v != (event.Value{}) {
		p, err := event.PrepareEntry(to.of, to.key, v)
		if err != nil {
			return nil, err
		}
		return func(e *event.Event) error {
			e.SetEntry(to.of, to.key, p)
			return nil
		}, nil
	}
	return func(e *event.Event) error {
		v, err := x.Of(e)
		switch {
		case err != nil:
			return err
		case v == event.Value{}: // null
			e.Unset(to.of, to.key)
		default:
			e.Set(to.of, to.key, v)
		}
		return nil
	}, nil
}

func setText(env *cel.Env, expression string, set func(*event.Event, string)) (func(*event.Event) error, error) {
	x, err := cel.Compile[string](env, expression)
	if err != nil {
		return nil, err
	}
	return func(e *event.Event) error {
		text, err := x.Of(e)
		if err == nil {
			set(e, text)
		}
		return err
	}, nil
}

func (t *transformer) newRemove(fields []string) (func(*event.Event) (bool, error), error) {
	var removes []func(*event.Event)
	for i, field := range fields {
		at, isEntry := entryOf(field)
		switch {
		case isEntry:
			removes = append(removes, func(e *event.Event) { e.Unset(at.of, at.key) })
		case field == "body":
			removes = append(removes, func(e *event.Event) { e.SetBody("") })
		case field == "subject":
			removes = append(removes, func(e *event.Event) { t.keepingKey(e, func() { e.SetSubject("") }) })
		default:
			return nil, fmt.Errorf(".remove[%d]: field %q is none that can be removed", i, field)
		}
	}
	return func(e *event.Event) (bool, error) {
		for _, remove := range removes {
			remove(e)
		}
		return true, nil
	}, nil
}

func newRename(c *config.TransformRename) (func(*event.Event) (bool, error), error) {
	from, ok := entryOf(c.From)
	to, ok2 := entryOf(c.To)
	switch {
	case !ok:
		return nil, fmt.Errorf(".rename.from: field %q is no entry of attributes, resource or extensions", c.From)
	case !ok2:
		return nil, fmt.Errorf(".rename.to: field %q is no entry of attributes, resource or extensions", c.To)
	}
	return func(e *event.Event) (bool, error) {
		if v, found := e.Get(from.of, from.key); found {
			e.Unset(from.of, from.key)
			e.Set(to.of, to.key, v)
		}
		return true, nil
	}, nil
}
