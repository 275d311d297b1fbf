package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
)

// The reasons of dead letters of events that make no row.
const (
	reasonExpression = "expression_error"
	reasonData       = "data_exception"
)

// null is a value that is none, in the text format of COPY.
const null = `\N`

// column makes one value of a row.
type column struct {
	name string
	kind config.ColumnType
	// append appends the value of an event in the text format of COPY.
	append func(dst []byte, e *event.Event) ([]byte, error)
}

// path is an expression that only names something: where an event has none of it, the column is null.
var path = regexp.MustCompile(`^event(\.[a-zA-Z_][a-zA-Z0-9_]*)+$`)

func newColumn(env *cel.Env, c config.SinkColumn) (column, error) {
	made := column{name: c.Name, kind: c.Type}
	if c.Expression == "" {
		if c.Type != config.ColumnJSON {
			return made, fmt.Errorf("a column of type %s needs an expression", c.Type)
		}
		made.append = appendEvent
		return made, nil
	}
	read, err := reader(env, c)
	if err != nil {
		return made, err
	}
	has := func(*event.Event) (bool, error) { return true, nil }
	if path.MatchString(c.Expression) {
		set, err := env.Condition("has(" + c.Expression + ")")
		if err != nil {
			return made, err
		}
		has = set.Holds
	}
	made.append = func(dst []byte, e *event.Event) ([]byte, error) {
		if ok, err := has(e); err != nil {
			return dst, err
		} else if !ok {
			return append(dst, null...), nil
		}
		return read(dst, e)
	}
	return made, nil
}

// reader evaluates the expression of a column.
func reader(env *cel.Env, c config.SinkColumn) (func([]byte, *event.Event) ([]byte, error), error) {
	switch c.Type {
	case config.ColumnText:
		return yields[string](env, c.Expression, appendText)
	case config.ColumnInt:
		return yields[int64](env, c.Expression, func(dst []byte, n int64) ([]byte, error) { return strconv.AppendInt(dst, n, 10), nil })
	case config.ColumnDouble:
		return yields[float64](env, c.Expression, func(dst []byte, v float64) ([]byte, error) { return appendDouble(dst, v), nil })
	case config.ColumnBool:
		return yields[bool](env, c.Expression, func(dst []byte, v bool) ([]byte, error) { return strconv.AppendBool(dst, v), nil })
	case config.ColumnTimestamp:
		return yields[event.Value](env, c.Expression, func(dst []byte, v event.Value) ([]byte, error) {
			switch v.Kind() {
			case event.None:
				return append(dst, null...), nil
			case event.String:
			default:
				return dst, fmt.Errorf("yields %s, must yield a timestamp or its text", short(v.Text()))
			}
			return appendText(dst, v.Str())
		})
	case config.ColumnJSON:
		return yields[map[string]any](env, c.Expression, appendMap)
	}
	return nil, fmt.Errorf("type %q is unknown", c.Type)
}

// yields makes the reader of an expression that yields a T, or null.
func yields[T cel.Result](env *cel.Env, expression string, write func([]byte, T) ([]byte, error)) (func([]byte, *event.Event) ([]byte, error), error) {
	x, err := cel.Compile[T](env, expression)
	if err != nil {
		return nil, err
	}
	// An expression whose type is only known for an event may yield null, which is no T.
	orNull, nullable := cel.Compile[event.Value](env, expression)
	return func(dst []byte, e *event.Event) ([]byte, error) {
		v, err := x.Of(e)
		if err == nil {
			return write(dst, v)
		}
		if nullable == nil {
			if scalar, failed := orNull.Of(e); failed == nil && scalar.Kind() == event.None {
				return append(dst, null...), nil
			}
		}
		return dst, err
	}, nil
}

// errNUL: PostgreSQL has no text with this character.
var errNUL = errors.New("has a character U+0000, which PostgreSQL does not keep in text")

// appendText escapes what COPY reads as the end of a value or of a row.
func appendText(dst []byte, s string) ([]byte, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return dst, unfit{errNUL}
	}
	if !utf8.ValidString(s) {
		return dst, unfit{errors.New("is not valid UTF-8")}
	}
	for {
		i := strings.IndexAny(s, "\\\n\r\t")
		if i < 0 {
			return append(dst, s...), nil
		}
		dst = append(append(dst, s[:i]...), '\\')
		switch s[i] {
		case '\n':
			dst = append(dst, 'n')
		case '\r':
			dst = append(dst, 'r')
		case '\t':
			dst = append(dst, 't')
		default:
			dst = append(dst, '\\')
		}
		s = s[i+1:]
	}
}

func appendDouble(dst []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64) // NaN is NaN there, too
}

func appendMap(dst []byte, m map[string]any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(m); err != nil {
		return dst, unfit{err}
	}
	return appendJSON(dst, bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}

func appendEvent(dst []byte, e *event.Event) ([]byte, error) {
	text, err := cloudevent.Append(nil, e)
	if err != nil {
		return dst, unfit{err}
	}
	return appendJSON(dst, text)
}

// appendJSON refuses here what jsonb is known to refuse, so that the server need not be asked about each row of a step.
func appendJSON(dst, text []byte) ([]byte, error) {
	for rest := text; ; {
		i := bytes.Index(rest, []byte(`\u0000`))
		if i < 0 {
			break
		}
		// An even number of backslashes before is text that reads \u0000.
		before := 0
		for before < i && rest[i-1-before] == '\\' {
			before++
		}
		if before%2 == 0 {
			return dst, unfit{errNUL}
		}
		rest = rest[i+len(`\u0000`):]
	}
	return appendText(dst, string(text))
}

// unfit is the error of a value that PostgreSQL cannot hold.
type unfit struct{ error }

func (u unfit) Unwrap() error { return u.error }

// row makes the row of an event, with its line break.
func row(columns []column, e *event.Event) (line []byte, reason string, err error) {
	line = make([]byte, 0, 256+2*e.Size())
	for i := range columns {
		if i > 0 {
			line = append(line, '\t')
		}
		if line, err = columns[i].append(line, e); err != nil {
			reason = reasonExpression
			if errors.As(err, &unfit{}) {
				reason = reasonData
			}
			if cause := errors.Unwrap(err); cause != nil && len(err.Error()) > maxSaid { // without the expression, which the column tells
				err = cause
			}
			return nil, reason, fmt.Errorf("column %s: %w", columns[i].name, shorten(err))
		}
	}
	return append(line, '\n'), "", nil
}
