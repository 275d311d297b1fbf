package stagetest

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"millrace.dev/millrace/workers/stage/state"
)

// Fields finds what a snapshot forgets: a field that somebody added to a type of the state, or a type of which
// nobody has said how it is kept.
type Fields struct {
	t      *testing.T
	values map[reflect.Type]reflect.Value
	known  map[reflect.Type]bool
}

// NewFields has fields of the type of a value filled with that value, where reflection does not know how: caches, messages.
func NewFields(t *testing.T, values ...any) *Fields {
	f := &Fields{t: t, values: map[reflect.Type]reflect.Value{}, known: map[reflect.Type]bool{}}
	for _, v := range values {
		f.values[reflect.TypeOf(v)] = reflect.ValueOf(v)
	}
	return f
}

// Kept checks that every field of T changes what encode writes, but those that are derived from others, from the config, or
// are no state. fresh makes a value that is not filled.
func Kept[T any](f *Fields, fresh func() *T, encode func(*state.Codec, *T), derived ...string) {
	f.t.Helper()
	of := reflect.TypeFor[T]()
	f.known[of] = true
	write := func(v *T) []byte {
		b, err := state.Write(nil, state.Format{}, func(c *state.Codec) { encode(c, v) })
		if err != nil {
			f.t.Fatalf("%s: %v", of, err)
		}
		return b
	}
	empty := write(fresh())
	if !bytes.Equal(empty, write(fresh())) {
		f.t.Errorf("%s: equal values make different bytes", of)
	}
	left := map[string]bool{}
	for _, name := range derived {
		left[name] = true
		if _, ok := of.FieldByName(name); !ok {
			f.t.Errorf("%s has no field %s any more", of, name)
		}
	}
	for i := range of.NumField() {
		name := of.Field(i).Name
		if left[name] {
			continue
		}
		v := fresh()
		if !f.fill(writable(reflect.ValueOf(v).Elem().Field(i)), 3) {
			f.t.Errorf("%s.%s: no value of type %s is known: give NewFields one", of, name, of.Field(i).Type)
		} else if bytes.Equal(empty, write(v)) {
			f.t.Errorf("%s.%s is not kept in a snapshot: name it to the codec and raise the version, or say here that it is derived", of, name)
		}
	}
}

// writable is v, also where it is a field that is not exported.
func writable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

// fill makes v other than zero, as deep as that goes.
func (f *Fields) fill(v reflect.Value, depth int) bool {
	if value, ok := f.values[v.Type()]; ok {
		v.Set(value)
		return true
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() ^ 1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(v.Uint() ^ 1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(v.Float() + 1)
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Pointer:
		to := reflect.New(v.Type().Elem())
		if depth > 0 {
			f.fill(to.Elem(), depth-1)
		}
		v.Set(to)
	case reflect.Slice:
		s := reflect.MakeSlice(v.Type(), 1, 1)
		f.fill(s.Index(0), depth-1)
		v.Set(s)
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i), depth-1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(writable(v.Field(i)), depth-1)
		}
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(key, depth-1)
		f.fill(value, depth-1)
		m.SetMapIndex(key, value)
		v.Set(m)
	default:
		return false
	}
	return true
}

// Reach checks that Kept was asked about every type of the package of a state that the state is made of.
func (f *Fields) Reach(root reflect.Type, derived ...reflect.Type) {
	f.t.Helper()
	seen := map[reflect.Type]bool{}
	for _, d := range derived {
		seen[d] = true
	}
	var walk func(reflect.Type)
	walk = func(of reflect.Type) {
		if seen[of] {
			return
		}
		seen[of] = true
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(of.Elem())
		case reflect.Map:
			walk(of.Key())
			walk(of.Elem())
		case reflect.Struct:
			if of.PkgPath() == root.PkgPath() && !f.known[of] {
				f.t.Errorf("nobody says how %s is kept in a snapshot", of)
			}
			if of.PkgPath() == root.PkgPath() || strings.HasPrefix(of.PkgPath(), caches) {
				for i := range of.NumField() {
					walk(of.Field(i).Type)
				}
			}
		default:
		}
	}
	walk(root)
}

// caches have their entries in types of these packages.
const caches = "github.com/hashicorp/golang-lru/"
