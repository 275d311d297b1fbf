package transform

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

var errTooMany = errors.New("too many pieces")

// split makes an event of each element of a list.
type split struct {
	when  *cel.Condition // nil = always
	where string
	list  cel.Expression[[]any]
	into  entry // the zero value is the body
}

func newSplit(env *cel.Env, c *config.TransformSplit) (*split, error) {
	list, err := cel.Compile[[]any](env, c.List)
	if err != nil {
		return nil, fmt.Errorf(".split.list: %w", err)
	}
	s := &split{list: list}
	if c.Into != "body" {
		into, ok := entryOf(c.Into)
		if !ok {
			return nil, fmt.Errorf(".split.into: field %q must be body or an entry of attributes, resource or extensions", c.Into)
		}
		s.into = into
	}
	return s, nil
}

// pieces replaces event i of b by those that are made of e.
func (t *transformer) pieces(b *stage.Batch, i int, e *event.Event) error {
	list, err := t.split.list.Of(e)
	if err != nil {
		return fmt.Errorf("%s: %w", t.split.where, err)
	}
	if len(list) > config.MaxPieces {
		return fmt.Errorf("%s: the list has %d elements, at most %d: %w", t.split.where, len(list), config.MaxPieces, errTooMany)
	}
	size := 0
	made := make([]*eventv1.Event, len(list))
	for n, element := range list {
		piece := e.Fork()
		err := t.split.put(&piece, element)
		if err == nil {
			if e.ID != "" {
				piece.SetID(fmt.Sprintf("%s/%d", e.ID, n))
			}
			err = t.rekey(&piece)
		}
		if size += piece.Size(); size > config.MaxPieceBytes && n > 0 && err == nil {
			err = fmt.Errorf("the pieces so far have %d bytes together, at most %d: remove first what they need not have: %w", size, config.MaxPieceBytes, errTooMany)
		}
		if err == nil {
			made[n], err = piece.ToProto()
		}
		if err != nil {
			return fmt.Errorf("%s: element %d: %w", t.split.where, n, err)
		}
	}
	for _, m := range made { // only now: of an event that becomes a dead letter nothing leaves
		b.Produce(i, stage.Out, m)
	}
	b.Filter(i)
	return nil
}

// put writes an element into the event that is made of it.
func (s *split) put(e *event.Event, element any) error {
	if pairs, ok := element.(map[string]any); ok {
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			v, err := scalar(pairs[key])
			if err != nil {
				return fmt.Errorf("%q: %w", key, err)
			}
			e.Set(event.AttributesMap, key, v)
		}
		return nil
	}
	v, err := scalar(element)
	if err != nil {
		return err
	}
	if s.into == (entry{}) {
		e.SetBody(v.Text())
		return nil
	}
	e.Set(s.into.of, s.into.key, v)
	return nil
}

func scalar(of any) (event.Value, error) {
	switch v := of.(type) {
	case string:
		return event.StringValue(v), nil
	case int64:
		return event.IntValue(v), nil
	case float64:
		return event.DoubleValue(v), nil
	case bool:
		return event.BoolValue(v), nil
	case []byte:
		return event.BytesValue(v), nil
	}
	return event.Value{}, fmt.Errorf("is %T: an element is a scalar, or a map of scalars", of)
}
