package celenv_test

import (
	"testing"

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
		"nested loops cost too much": {
			"event.resource.all(a, event.resource.all(b, event.resource.all(c, event.resource.all(d, a != b || c != d))))",
			"may cost 3520543687427 units an event, at most 1000000: nest fewer loops over maps and lists",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if _, err := celenv.Compile(env, test.expression); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
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
