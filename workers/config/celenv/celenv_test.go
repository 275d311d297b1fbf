package celenv_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config/celenv"
)

func TestCompile(t *testing.T) {
	env, err := celenv.New()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ expression, want string }{
		"attribute of CloudEvents": {expression: "event.id != ''"},
		"nested object":            {expression: "event.entity.kind == 'Pod' && event.entity.namespace.startsWith('prod-')"},
		"has":                      {expression: "!has(event.metric) || event.metric.value >= 0"},
		"optional key":             {expression: "event.attributes[?'http.status'].orValue(200) < 500"},
		"key in map":               {expression: "'app' in event.resource && event.resource['app'] != ''"},
		"time":                     {expression: "event.time > timestamp('2024-01-01T00:00:00Z')"},
		"int and double":           {expression: "event.metric.value > 1 && event.severity >= 9"},
		"regular expression":       {expression: "event.body.matches('^OOM.*killed')"},
		"loop over a map":          {expression: "event.resource.all(k, k.size() < 64)"},
		"dyn may be a bool":        {expression: "event.attributes['ok']"},
		"strings extension":        {expression: "event.severityText.lowerAscii() in ['warn', 'error']"},
		"unknown field":            {"event.nope == ''", "column 6: undefined field 'nope'"},
		"unknown nested field":     {"event.entity.nope == ''", "column 13: undefined field 'nope'"},
		"unknown variable":         {"evnt.id == ''", "column 1: undeclared reference to 'evnt' (in container '')"},
		"no bool":                  {"event.id", "yields string, must yield bool"},
		"wrong type":               {"event.id == 1", "column 10: found no matching overload for '_==_' applied to '(string, int)'"},
		"no expression":            {"", "is empty"},
		"message of JSON": {
			"event.resource.all(k, google.protobuf.Struct{fields: {'a': google.protobuf.Value{}}}.size() == 1)",
			"makes a google.protobuf.Struct: write a literal, such as {'key': 1} or [1]",
		},
		"nested loops cost too much": {
			"event.resource.all(a, event.resource.all(b, event.resource.all(c, event.resource.all(d, a != b || c != d))))",
			"may cost 3520543687427 units an event, at most 1000000: nest fewer loops over maps and lists, and search, replace and join with literals",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			ast, err := celenv.Compile(env, test.expression)
			if err != nil {
				got = err.Error()
			} else if dear := celenv.Dear(env, ast); dear != "" {
				t.Errorf("an everyday expression %s", dear)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestCompileFor: an expression is refused when it cannot yield what is asked for, whatever the event.
func TestCompileFor(t *testing.T) {
	env, err := celenv.New()
	if err != nil {
		t.Fatal(err)
	}
	const all = "bool string int double scalar list map"
	for expression, want := range map[string]string{
		"event.attributes['a']":             all, // dyn
		"true":                              "bool scalar",
		"event.id":                          "string scalar",
		"event.severity":                    "int double scalar",
		"event.metric.value":                "double scalar",
		"event.time":                        "scalar",
		"event.time - event.time":           "scalar",
		"b'a'":                              "scalar",
		"null":                              "scalar",
		"event.body.split(',')":             "list",
		"[]":                                "list",
		"[{'a': [event.attributes['a']]}]":  "list",
		"event.resource":                    "map",
		"{}":                                "map",
		"{event.attributes['a']: event.id}": "map",
		"{1: 2}":                            "",
		"[{1: 2}]":                          "",
		"event.entity":                      "",
		"[event.entity]":                    "",
		"{'a': event}":                      "",
		"event.resource[?'a']":              "",
		"[event.resource[?'a']]":            "",
		"type(event.id)":                    "",
		"1u":                                "",
	} {
		var got []string
		for result, name := range strings.Fields(all) {
			ast, err := celenv.CompileFor(env, expression, celenv.Result(result))
			switch {
			case err == nil && ast != nil:
				got = append(got, name)
			case err == nil || !strings.HasPrefix(err.Error(), "yields ") || !strings.Contains(err.Error(), ", must yield ") || !strings.HasSuffix(err.Error(), name):
				t.Errorf("%s as %s: %v", expression, name, err)
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s can yield %q, want %q", expression, got, want)
		}
	}
	loops := "event.resource.map(a, event.resource.map(b, event.resource.map(c, event.resource.map(d, a + b + c + d))))"
	if _, err := celenv.CompileFor(env, loops, celenv.List); err == nil || !strings.HasPrefix(err.Error(), "may cost ") {
		t.Errorf("got %v, want a refusal of the cost", err)
	}
	ast, err := celenv.CompileFor(env, "event.resource.map(a, event.resource.all(b, b != ''))", celenv.List)
	if err != nil || celenv.Dear(env, ast) == "" {
		t.Errorf("%v; want a warning of the cost of two loops", err)
	}
}

// TestTextThatGrows: text that is made of the text of events stays bounded, whatever it is made with.
func TestTextThatGrows(t *testing.T) {
	env, err := celenv.New()
	if err != nil {
		t.Fatal(err)
	}
	often := func(n int, format string, x string) string {
		for range n {
			x = fmt.Sprintf(format, x)
		}
		return x
	}
	for name, expression := range map[string]string{
		"text replaced by text":             "event.body.replace('a', event.body) != ''",
		"twice":                             "event.body.replace('a', event.body).replace('a', event.body).size() > 0",
		"nothing replaced by text":          "event.body.replace('', event.body) != ''",
		"any text replaced":                 "event.body.replace(event.id, 'a long text in the place of each letter')" + strings.Repeat(".replace(event.id, '12345678')", 3) + " != ''",
		"a number of times":                 "event.body.replace('a', event.body, 1000) != ''",
		"value of an attribute":             "event.attributes['a'].replace('a', event.attributes['b']) != ''",
		"joined by text":                    "event.body.split('').join(event.body) != ''",
		"joined after a loop":               "event.body.split('').map(c, event.body).join() != ''",
		"parts in parts":                    "event.body.split('').map(c, event.body.split('')).map(l, l.join(event.id)).join() != ''",
		"format of much":                    "'%s'.format([event.body.split('').map(c, event.body)]) != ''",
		"format in loops":                   often(20, "%s.map(v, '%%s%%s'.format([v, v]))", "[event.body]") + ".all(v, v != '')",
		"sums in loops":                     often(20, "%s.map(v, v + v)", "[event.body]") + ".all(v, v != '')",
		"sums of values":                    often(20, "%s.map(v, v + v)", "[event.attributes['a']]") + ".all(v, v != '')",
		"sums of optionals":                 often(4, "%s.optMap(v, v + v)", "optional.of(event.body + event.body)") + ".orValue('') != ''",
		"sums in maps":                      often(9, "%s.map(m, {'a': m.a + m.a})", "[{'a': event.body}]") + ".all(m, m.a != '')",
		"sums in lists":                     often(9, "%s.map(l, l.map(v, v + v))", "[[event.body]]") + ".all(l, l.all(v, v != ''))",
		"lists":                             often(30, "%s.map(l, l + l)", "[['a']]") + ".all(l, l.size() > 0)",
		"quotes":                            often(20, "strings.quote(%s)", "event.body") + " != ''",
		"text sought in text":               "event.body.indexOf(event.subject) > 0",
		"text sought in text from the back": "event.body.lastIndexOf(event.subject, 9) > 0",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := celenv.Compile(env, expression)
			if err == nil || !strings.HasPrefix(err.Error(), "may cost ") {
				t.Errorf("%s: got %v, want a refusal of the cost", expression, err)
			}
		})
	}
	for name, expression := range map[string]string{
		"literals":                 "event.body.replace('-', ' ').replace('error', 'a longer text').contains('x')",
		"first one":                "event.body.replace('', event.id, 1) != ''",
		"in a loop":                "event.resource.all(k, event.resource[k].replace('-', '_').size() < 64)",
		"key and value":            "(event.entity.namespace + '/' + event.entity.name).size() < 254",
		"join of keys":             "event.resource.map(k, k).join(',') == 'a,b'",
		"parts":                    "event.body.split(',').exists(l, l.contains('error'))",
		"format of fields":         "'%s/%d'.format([event.type, event.severity]) in ['a/9', 'b/9']",
		"format of a map":          "'%s'.format([event.resource]).size() < 10000",
		"words of a list":          "['error', 'fatal', 'panic'].exists(w, event.body.lowerAscii().contains(w))",
		"place of a word":          "event.body.indexOf('error') >= 0",
		"sums of numbers in loops": often(20, "%s.map(v, v + v)", "[1]") + ".all(v, v > 0)",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := celenv.Compile(env, expression); err != nil {
				t.Errorf("%s: %v", expression, err)
			}
		})
	}
}

// TestFormatIsPrecise: no text of an event makes format write millions of digits.
func TestFormatIsPrecise(t *testing.T) {
	env, err := celenv.NewBound(binding{})
	if err != nil {
		t.Fatal(err)
	}
	ast, err := celenv.Compile(env, "event.id.format([1.0]) != ''")
	if err != nil {
		t.Fatal(err)
	}
	program, err := env.Program(ast)
	if err != nil {
		t.Fatal(err)
	}
	if out, _, err := program.Eval(map[string]any{celenv.Variable: &record{id: "%.1000000f"}}); err == nil {
		t.Errorf("got %v, want an error", out)
	}
}

// record stands for a decoded event.
type record struct {
	id     string
	entity *entity
}

type entity struct{ kind string }

type binding struct{}

func (binding) Getter(object, field string) ref.FieldGetter {
	return func(target any) (any, error) {
		switch object + "/" + field {
		case celenv.Event + "/id":
			return target.(*record).id, nil
		case celenv.Event + "/entity":
			if e := target.(*record).entity; e != nil {
				return e, nil
			}
			return &entity{}, nil
		case celenv.Entity + "/kind":
			return target.(*entity).kind, nil
		}
		return nil, nil
	}
}

func (binding) Tester(object, field string) ref.FieldTester {
	return func(target any) bool { return field != "entity" || target.(*record).entity != nil }
}

func (binding) Adapter(base types.Adapter) types.Adapter { return base }

func TestBound(t *testing.T) {
	env, err := celenv.NewBound(binding{})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		expression string
		event      *record
		want       bool
	}{
		"field":            {"event.id == 'a'", &record{id: "a"}, true},
		"field differs":    {"event.id == 'a'", &record{id: "b"}, false},
		"nested":           {"event.entity.kind == 'Pod'", &record{entity: &entity{"Pod"}}, true},
		"nested of absent": {"event.entity.kind == ''", &record{}, true},
		"has":              {"has(event.entity)", &record{entity: &entity{}}, true},
		"has not":          {"has(event.entity)", &record{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ast, err := celenv.Compile(env, test.expression)
			if err != nil {
				t.Fatal(err)
			}
			program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := program.Eval(map[string]any{celenv.Variable: test.event})
			if err != nil {
				t.Fatal(err)
			}
			if got.Value() != test.want {
				t.Errorf("%s is %v, want %v", test.expression, got.Value(), test.want)
			}
		})
	}
}

// TestOptionalMacrosAreFew: compiling an expression takes no longer than one may wait for it.
func TestOptionalMacrosAreFew(t *testing.T) {
	env, err := celenv.New()
	if err != nil {
		t.Fatal(err)
	}
	nested := func(n int) string {
		return "optional.of(event.body)" + strings.Repeat(".optMap(v, v)", n) + ".hasValue()"
	}
	if _, err := celenv.Compile(env, nested(4)); err != nil {
		t.Error(err)
	}
	began := time.Now()
	if _, err := celenv.Compile(env, nested(14)); err == nil || !strings.Contains(err.Error(), "optMap") {
		t.Errorf("got %v, want a refusal", err)
	}
	if took := time.Since(began); took > 5*time.Second { // compiled, minutes
		t.Errorf("took %s", took)
	}
}
