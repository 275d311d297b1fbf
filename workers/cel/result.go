package cel

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"millrace.dev/millrace/workers/config/celenv"
	"millrace.dev/millrace/workers/event"
)

// resultOf returns how celenv calls T, and how a value of CEL becomes one. It copies what shares memory with the event.
func resultOf[T Result]() (celenv.Result, func(ref.Val) (T, error)) {
	var want celenv.Result
	var convert any
	var zero T
	switch any(zero).(type) {
	case bool:
		want, convert = celenv.Bool, toBool
	case string:
		want, convert = celenv.String, toString
	case int64:
		want, convert = celenv.Int, toInt
	case float64:
		want, convert = celenv.Double, toDouble
	case event.Value:
		want, convert = celenv.Scalar, toScalar
	case []any:
		want, convert = celenv.List, toList
	case map[string]any:
		want, convert = celenv.Map, toMap
	}
	return want, convert.(func(ref.Val) (T, error))
}

// wrong is the error about a value that is not what was asked for.
func wrong(v ref.Val, want celenv.Result) error {
	return fmt.Errorf("yields %s, must yield %s", v.Type().TypeName(), want)
}

func toBool(v ref.Val) (bool, error) {
	b, ok := v.(types.Bool)
	if !ok {
		return false, wrong(v, celenv.Bool)
	}
	return bool(b), nil
}

func toString(v ref.Val) (string, error) {
	s, ok := v.(types.String)
	if !ok {
		return "", wrong(v, celenv.String)
	}
	return strings.Clone(string(s)), nil
}

func toInt(v ref.Val) (int64, error) {
	n, ok := v.(types.Int)
	if !ok {
		return 0, wrong(v, celenv.Int)
	}
	return int64(n), nil
}

func toDouble(v ref.Val) (float64, error) {
	switch d := v.(type) {
	case types.Double:
		return float64(d), nil
	case types.Int:
		return float64(d), nil
	}
	return 0, wrong(v, celenv.Double)
}

func toScalar(v ref.Val) (event.Value, error) {
	switch s := v.(type) {
	case types.String:
		return event.StringValue(strings.Clone(string(s))), nil
	case types.Int:
		return event.IntValue(int64(s)), nil
	case types.Double:
		return event.DoubleValue(float64(s)), nil
	case types.Bool:
		return event.BoolValue(bool(s)), nil
	case types.Bytes:
		return event.BytesValue(bytes.Clone(s)), nil
	case types.Null:
		return event.Value{}, nil
	case types.Timestamp, types.Duration:
		if s, ok := v.ConvertToType(types.StringType).(types.String); ok {
			return event.StringValue(string(s)), nil
		}
	}
	return event.Value{}, wrong(v, celenv.Scalar)
}

func toList(v ref.Val) ([]any, error) {
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, wrong(v, celenv.List)
	}
	all := []any{}
	for i := list.Iterator(); i.HasNext() == types.True; {
		element, err := toAny(i.Next())
		if err != nil {
			return nil, fmt.Errorf("element %d of the list: %w", len(all), err)
		}
		all = append(all, element)
	}
	return all, nil
}

func toMap(v ref.Val) (map[string]any, error) {
	m, ok := v.(traits.Mapper)
	if !ok {
		return nil, wrong(v, celenv.Map)
	}
	all := map[string]any{}
	for i := m.Iterator(); i.HasNext() == types.True; {
		k := i.Next()
		key, err := toString(k)
		if err != nil {
			return nil, fmt.Errorf("a key of the map: %w", err)
		}
		if all[key], err = toAny(m.Get(k)); err != nil {
			return nil, fmt.Errorf("member %s of the map: %w", key, err)
		}
	}
	return all, nil
}

// toAny makes a value of a list or map.
func toAny(v ref.Val) (any, error) {
	switch x := v.(type) {
	case traits.Mapper:
		return toMap(x)
	case traits.Lister:
		return toList(x)
	}
	s, err := toScalar(v)
	return s.Any(), err
}
