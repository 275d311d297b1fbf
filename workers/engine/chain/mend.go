package chain

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// mendText replaces what is not UTF-8 in every string of m by U+FFFD.
func mendText(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList():
			mendList(f, v.List())
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, valid(v))
		case f.Kind() == protoreflect.MessageKind && !f.IsMap():
			mendText(v.Message())
		}
		return true
	})
}

func mendList(f protoreflect.FieldDescriptor, list protoreflect.List) {
	for i := range list.Len() {
		switch f.Kind() {
		case protoreflect.StringKind:
			list.Set(i, valid(list.Get(i)))
		case protoreflect.MessageKind:
			mendText(list.Get(i).Message())
		}
	}
}

func valid(v protoreflect.Value) protoreflect.Value {
	return protoreflect.ValueOfString(strings.ToValidUTF8(v.String(), "\uFFFD"))
}
