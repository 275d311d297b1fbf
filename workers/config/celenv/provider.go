package celenv

import (
	"maps"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// Binding reads the fields of events at run time.
//
// CEL calls the getter of a field with what the getter of its parent returned: the value of
// the variable event for fields of Event, and what the getter of event.entity returned for
// fields of Entity. So a binding chooses its own Go types and need not wrap them.
type Binding interface {
	// Getter reads a field of an object type (Event, Entity, Metric, Semantic). It is asked
	// once per expression, for each pair that Fields declares.
	Getter(object, field string) ref.FieldGetter
	// Tester tells whether the field is set, for has(event.metric).
	Tester(object, field string) ref.FieldTester
	// Adapter turns the values of getters into CEL values where CEL does not know them:
	// whole objects and maps of the binding's own types. base knows all basic Go types.
	Adapter(base types.Adapter) types.Adapter
}

// provider adds the object types of events to the standard types.
type provider struct {
	types.Provider
	objects map[string]map[string]*types.FieldType
}

func newProvider(base types.Provider, b Binding) *provider {
	p := &provider{Provider: base, objects: map[string]map[string]*types.FieldType{}}
	for _, object := range []string{Event, Entity, Metric, Semantic} {
		fields := map[string]*types.FieldType{}
		for name, t := range Fields(object) {
			field := &types.FieldType{Type: t}
			if b != nil {
				field.GetFrom, field.IsSet = b.Getter(object, name), b.Tester(object, name)
			}
			fields[name] = field
		}
		p.objects[object] = fields
	}
	return p
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(cel.ObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ok := p.objects[name]; ok {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields, ok := p.objects[name]; ok {
		f, ok := fields[field]
		return f, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}

// NewValue implements types.Provider: an expression cannot make events.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.objects[name]; ok {
		return types.NewErr("an expression cannot make a %s", name)
	}
	return p.Provider.NewValue(name, fields)
}
