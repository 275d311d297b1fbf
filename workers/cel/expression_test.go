package cel

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// yields evaluates an expression for the event of a test, and then spoils the memory of that event.
type yields func(t *testing.T, env *Env) (any, error)

const line = `{"id":"id-1","source":"s","type":"app.log","subject":"cart","time":"2026-01-02T03:04:05Z","severitynumber":9,` +
	`"entity":{"kind":"Pod","namespace":"shop","name":"cart-1"},"metric":{"name":"m","value":2.5},"body":"a,b",` +
	`"attributes":{"code":503,"share":0.5,"ok":true,"text":"long enough","tags":"x y"},"resource":{"zone":"z1"}}`

func yield[T Result](expression string) yields {
	return func(t *testing.T, env *Env) (any, error) {
		t.Helper()
		x, err := Compile[T](env, expression)
		if err != nil {
			return nil, err
		}
		d, data := decode.New(decode.Limits{}), []byte(line)
		events, bad := d.Decode(nil, decode.Message{Data: data})
		if len(bad) > 0 {
			t.Fatal(bad[0].Err)
		}
		got, err := x.Of(&events[0])
		if err != nil {
			return nil, err
		}
		d.Reset()
		clear(data)
		if _, bad = d.Decode(nil, decode.Message{Data: []byte(`{"body":"` + strings.Repeat("?", 4*len(line)) + `"}`)}); len(bad) > 0 {
			t.Fatal(bad[0].Err)
		}
		return got, nil
	}
}

// TestExpressions: an expression yields what is asked for, in memory of its own.
func TestExpressions(t *testing.T) {
	env := newEnv(t)
	for name, c := range map[string]struct {
		yields yields
		want   any
	}{
		"bool":                      {yield[bool]("event.severity > 8"), true},
		"bool of an attribute":      {yield[bool]("event.attributes.ok"), true},
		"field":                     {yield[string]("event.subject"), "cart"},
		"field of the entity":       {yield[string]("event.entity.name"), "cart-1"},
		"text made":                 {yield[string]("event.entity.namespace + '/' + event.entity.name"), "shop/cart-1"},
		"text of a map":             {yield[string]("event.resource['zone']"), "z1"},
		"text of an attribute":      {yield[string]("event.attributes.text"), "long enough"},
		"literal":                   {yield[string]("'x'"), "x"},
		"optional":                  {yield[string]("event.attributes[?'none'].orValue(event.id)"), "id-1"},
		"either":                    {yield[string]("has(event.attributes.none) ? event.attributes.none : event.type"), "app.log"},
		"int field":                 {yield[int64]("event.severity"), int64(9)},
		"int made":                  {yield[int64]("event.body.size() + 1"), int64(4)},
		"int of an attribute":       {yield[int64]("event.attributes.code"), int64(503)},
		"double":                    {yield[float64]("event.metric.value"), 2.5},
		"double of an attribute":    {yield[float64]("event.attributes.share"), 0.5},
		"an int is a double":        {yield[float64]("event.severity"), 9.0},
		"an int attribute as well":  {yield[float64]("event.attributes.code"), 503.0},
		"scalar text":               {yield[event.Value]("event.attributes.text"), event.StringValue("long enough")},
		"scalar int":                {yield[event.Value]("event.attributes.code"), event.IntValue(503)},
		"scalar double":             {yield[event.Value]("event.metric.value * 2.0"), event.DoubleValue(5)},
		"scalar bool":               {yield[event.Value]("event.attributes.ok"), event.BoolValue(true)},
		"scalar bytes":              {yield[event.Value]("bytes(event.id)"), event.BytesValue([]byte("id-1"))},
		"scalar null":               {yield[event.Value]("null"), event.Value{}},
		"scalar time":               {yield[event.Value]("event.time"), event.StringValue("2026-01-02T03:04:05Z")},
		"scalar duration":           {yield[event.Value]("event.time - event.time"), event.StringValue("0s")},
		"list":                      {yield[[]any]("event.attributes.tags.split(' ')"), []any{"x", "y"}},
		"list of texts":             {yield[[]any]("[event.id, event.subject]"), []any{"id-1", "cart"}},
		"list of keys":              {yield[[]any]("event.resource.map(k, k)"), []any{"zone"}},
		"list of anything":          {yield[[]any]("[dyn(event.id), 1, 2.5, true, null, b'b', [event.body], {'a': event.id}]"), []any{"id-1", int64(1), 2.5, true, nil, []byte("b"), []any{"a,b"}, map[string]any{"a": "id-1"}}},
		"empty list":                {yield[[]any]("[]"), []any{}},
		"map of the event":          {yield[map[string]any]("event.resource"), map[string]any{"zone": "z1"}},
		"map with anything":         {yield[map[string]any]("{'id': event.id, 'code': event.attributes.code, 'in': event.resource}"), map[string]any{"id": "id-1", "code": int64(503), "in": map[string]any{"zone": "z1"}}},
		"empty map":                 {yield[map[string]any]("{}"), map[string]any{}},
		"map of all the attributes": {yield[map[string]any]("event.attributes"), map[string]any{"code": int64(503), "share": 0.5, "ok": true, "text": "long enough", "tags": "x y"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.yields(t, env)
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b event.Value) bool {
				return a.Kind() == b.Kind() && a.Text() == b.Text() && bytes.Equal(a.Bytes(), b.Bytes())
			})); err != nil || diff != "" {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
		})
	}
}

// TestLiteral: only what is the same for every event is a literal.
func TestLiteral(t *testing.T) {
	env := newEnv(t)
	for expression, want := range map[string]string{"'platform'": "platform", "''": ""} {
		x, err := Compile[string](env, expression)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := x.Literal(); !ok || v != want {
			t.Errorf("%s: got %q, %t", expression, v, ok)
		}
	}
	for _, expression := range []string{"event.type", "event.type + 'x'", "'a' + event.id"} {
		x, err := Compile[string](env, expression)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := x.Literal(); ok {
			t.Errorf("%s: got %q for every event", expression, v)
		}
	}
}

// TestMapsThatExpressionsMakeHaveAnOrder: the keys of a map that an expression makes come in the same order in each evaluation.
func TestMapsThatExpressionsMakeHaveAnOrder(t *testing.T) {
	env := newEnv(t)
	for name, c := range map[string]struct {
		yields yields
		want   any
	}{
		"literals":               {yield[[]any]("{'b': 1, 'e': 5, 'a': 2, 'd': 4, 'c': 3}.map(k, k)"), []any{"a", "b", "c", "d", "e"}},
		"values of the event":    {yield[[]any]("{'b': event.id, 'e': 5, 'a': event.body, 'd': 4, 'c': 3}.map(k, k)"), []any{"a", "b", "c", "d", "e"}},
		"keys of the event":      {yield[[]any]("{event.subject: 1, event.id: 2, event.body: 3, event.type: 4}.map(k, k)"), []any{"a,b", "app.log", "cart", "id-1"}},
		"optional entries":       {yield[[]any]("{'b': 1, ?'none': event.attributes[?'none'], 'e': 5, ?'a': event.attributes[?'ok'], 'd': 4}.map(k, k)"), []any{"a", "b", "d", "e"}},
		"filter":                 {yield[[]any]("{'b': 1, 'e': 5, 'a': 2, 'd': 4, 'c': 3}.filter(k, k != 'd')"), []any{"a", "b", "c", "e"}},
		"in a list":              {yield[[]any]("[{'b': 1, 'e': 5, 'a': 2, 'd': 4}][0].map(k, k)"), []any{"a", "b", "d", "e"}},
		"in a map":               {yield[[]any]("{'m': {'b': 1, 'e': 5, 'a': 2, 'd': 4}}['m'].map(k, k)"), []any{"a", "b", "d", "e"}},
		"in a map of the event":  {yield[[]any]("{'m': {'b': event.id, 'e': 5, 'a': 2, 'd': 4}, event.id: {}}.m.map(k, k)"), []any{"a", "b", "d", "e"}},
		"loops in loops":         {yield[[]any]("{'b': {'y': 1, 'x': 2, 'z': 3}, 'a': {'q': 1, 'p': 2}}.map(k, {'c': k, 'b': k, 'a': k}.map(l, k + l))"), []any{[]any{"aa", "ab", "ac"}, []any{"ba", "bb", "bc"}}},
		"made by a loop":         {yield[[]any]("[1, 2].map(n, {'b': n, 'e': n, 'a': n, 'd': n})[1].map(k, k)"), []any{"a", "b", "d", "e"}},
		"either map":             {yield[[]any]("(event.severity > 8 ? {'b': 1, 'e': 5, 'a': 2, 'd': 4} : {'x': 1}).map(k, k)"), []any{"a", "b", "d", "e"}},
		"optional map":           {yield[[]any]("optional.ofNonZeroValue({'b': 1, 'e': 5, 'a': 2, 'd': 4}).orValue({'x': 1}).map(k, k)"), []any{"a", "b", "d", "e"}},
		"no optional map":        {yield[[]any]("optional.ofNonZeroValue({}).orValue({'x': 1}).map(k, k)"), []any{"x"}},
		"ints":                   {yield[[]any]("{10: 1, 9: 2, -1: 3, 100: 4}.map(k, k)"), []any{int64(-1), int64(9), int64(10), int64(100)}},
		"keys of several types":  {yield[[]any]("{dyn('b'): 1, 2: 2, 'a': 3, true: 4, 1: 5, 1.5: 6}.map(k, k)"), []any{true, 1.5, int64(1), int64(2), "a", "b"}},
		"keys that are lists":    {yield[[]any]("{[2]: 1, [3]: 2, [1]: 3, [0]: 4}.map(k, k)"), []any{[]any{int64(0)}, []any{int64(1)}, []any{int64(2)}, []any{int64(3)}}},
		"equal to one of events": {yield[bool]("event.resource == {'zone': 'z1'} && {'zone': event.resource['zone']} == event.resource && {'a': 1} == {dyn('a'): 1} && {'a': 1}.size() == 1 && 'a' in {'a': 1}"), true},
		"as text":                {yield[string]("'%s'.format([{'b': 1, 'e': 5, 'a': 2}])"), "{a: 2, b: 1, e: 5}"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				got, err := c.yields(t, env)
				if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
					t.Fatalf("%v (-want +got)\n%s", err, diff)
				}
			}
		})
	}
}

// TestBytesAreNoKey: a literal with such a key is an error for each event, not the end of the worker that compiles it.
func TestBytesAreNoKey(t *testing.T) {
	env := newEnv(t)
	for _, expression := range []string{"{b'a': 1}.map(k, k)", "{dyn(b'a'): 1}.map(k, k)", "{bytes(event.id): 1}.map(k, k)"} {
		if got, err := yield[[]any](expression)(t, env); err == nil || !strings.HasPrefix(err.Error(), "expression "+expression) {
			t.Errorf("%s: got %v and error %v", expression, got, err)
		}
	}
}

// TestExpressionsThatDoNotFit: what an expression cannot yield is said when it is compiled, and where only an event can
// show it, with that event. Either error names the expression.
func TestExpressionsThatDoNotFit(t *testing.T) {
	env := newEnv(t)
	for name, c := range map[string]struct {
		yields yields
		want   string
	}{
		"int for string":        {yield[string]("event.severity"), "expression event.severity: yields int, must yield string"},
		"string for int":        {yield[int64]("event.id"), "expression event.id: yields string, must yield int"},
		"double for int":        {yield[int64]("event.metric.value"), "expression event.metric.value: yields double, must yield int"},
		"string for double":     {yield[float64]("event.id"), "expression event.id: yields string, must yield double"},
		"string for bool":       {yield[bool]("event.id"), "expression event.id: yields string, must yield bool"},
		"string for list":       {yield[[]any]("event.id"), "expression event.id: yields string, must yield list"},
		"map for list":          {yield[[]any]("event.resource"), "expression event.resource: yields map(string, string), must yield list"},
		"list for map":          {yield[map[string]any]("[1]"), "expression [1]: yields list(int), must yield map"},
		"list for scalar":       {yield[event.Value]("[1]"), "expression [1]: yields list(int), must yield a scalar"},
		"object for scalar":     {yield[event.Value]("event.entity"), "expression event.entity: yields millrace.event.v1.EntityRef, must yield a scalar"},
		"object for map":        {yield[map[string]any]("event.entity"), "expression event.entity: yields millrace.event.v1.EntityRef, must yield map"},
		"list of objects":       {yield[[]any]("[event.entity]"), "expression [event.entity]: yields list(millrace.event.v1.EntityRef), must yield list"},
		"keys that are numbers": {yield[map[string]any]("{1: 2}"), "expression {1: 2}: yields map(int, int), must yield map"},
		"optional":              {yield[string]("event.resource[?'zone']"), "expression event.resource[?'zone']: yields optional_type(string), must yield string"},
		"unknown field":         {yield[string]("event.nope"), "expression event.nope: column 6: undefined field 'nope'"},
		"no expression":         {yield[string](" "), "expression  : is empty"},
		"cost": {
			yield[[]any]("event.resource.map(a, event.resource.map(b, event.resource.map(c, event.resource.map(d, a + b + c + d))))"),
			"expression event.resource.map(a, event.resource.map(b, event.resource.map(c, event.resource.map(d, a + b + c + d)))): may cost ",
		},

		"attribute is no text":       {yield[string]("event.attributes.code"), "expression event.attributes.code: yields int, must yield string"},
		"attribute is no int":        {yield[int64]("event.attributes.share"), "expression event.attributes.share: yields double, must yield int"},
		"attribute is no double":     {yield[float64]("event.attributes.text"), "expression event.attributes.text: yields string, must yield double"},
		"attribute is no bool":       {yield[bool]("event.attributes.text"), "expression event.attributes.text: yields string, must yield bool"},
		"attribute is no list":       {yield[[]any]("event.attributes.text"), "expression event.attributes.text: yields string, must yield list"},
		"attribute is no map":        {yield[map[string]any]("event.attributes.code"), "expression event.attributes.code: yields int, must yield map"},
		"a list after all":           {yield[event.Value]("dyn([1])"), "expression dyn([1]): yields list, must yield a scalar"},
		"an optional after all":      {yield[event.Value]("dyn(optional.none())"), "expression dyn(optional.none()): yields optional_type, must yield a scalar"},
		"an optional in a list":      {yield[[]any]("[1, dyn(optional.none())]"), "expression [1, dyn(optional.none())]: element 1 of the list: yields optional_type, must yield a scalar"},
		"an optional in a map":       {yield[map[string]any]("{'a': dyn(optional.none())}"), "expression {'a': dyn(optional.none())}: member a of the map: yields optional_type, must yield a scalar"},
		"an object after all":        {yield[event.Value]("dyn(event.entity)"), "expression dyn(event.entity): unsupported conversion"},
		"a key that is a number":     {yield[map[string]any]("{dyn(1): 2}"), "expression {dyn(1): 2}: a key of the map: yields int, must yield string"},
		"key that does not exist":    {yield[string]("event.attributes.none"), "expression event.attributes.none: no such key: none"},
		"zero is what is divided by": {yield[int64]("1 / (event.severity - 9)"), "expression 1 / (event.severity - 9): division by zero"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.yields(t, env)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v and error %v, want %s", got, err, c.want)
			}
		})
	}
}

// BenchmarkOf measures expressions that yield something else than a bool (see BenchmarkHolds).
func BenchmarkOf(b *testing.B) {
	e := view(b, &eventv1.Event{
		Id: "id-1", SeverityNumber: 9, Entity: &eventv1.EntityRef{Namespace: "shop", Name: "cart-1"},
		Attributes: []*eventv1.KeyValue{pair("a", "1"), pair("tenant", "blue")},
	})
	benchmarkOf[string](b, e, "field", "event.entity.name")
	benchmarkOf[string](b, e, "key", "event.entity.namespace + '/' + event.entity.name")
	benchmarkOf[string](b, e, "attribute", "event.attributes['tenant']")
	benchmarkOf[event.Value](b, e, "scalar", "event.attributes['tenant']")
	benchmarkOf[int64](b, e, "int", "event.severity * 2")
	benchmarkOf[bool](b, e, "bool", "event.attributes['tenant'] == 'blue'")
	benchmarkOf[[]any](b, e, "list", "['a', 'b', event.id]")
}

func benchmarkOf[T Result](b *testing.B, e *event.Event, name, expression string) {
	b.Helper()
	x, err := Compile[T](newEnv(b), expression)
	if err != nil {
		b.Fatal(err)
	}
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x.Of(e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
