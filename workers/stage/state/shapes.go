package state

import (
	"maps"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"google.golang.org/protobuf/proto"
)

// Slice writes or reads a slice, one element after another.
func Slice[T any](c *Codec, s *[]T, each func(*T)) {
	n := c.Len(len(*s))
	if !c.reading {
		for i := range *s {
			each(&(*s)[i])
		}
		return
	}
	*s = nil
	for i := 0; i < n && c.OK(); i++ {
		var v T
		each(&v)
		*s = append(*s, v)
	}
}

// Map writes or reads a map in an order of its keys.
func Map[K comparable, V any](c *Codec, m map[K]V, order func(a, b K) int, each func(*K, *V)) {
	n := c.Len(len(m))
	if !c.reading {
		for _, k := range slices.SortedFunc(maps.Keys(m), order) {
			v := m[k]
			each(&k, &v)
		}
		return
	}
	for i := 0; i < n && c.OK(); i++ {
		var k K
		var v V
		each(&k, &v)
		m[k] = v
	}
	c.Check(len(m) == n, "a map with the same key twice")
}

// LRU writes or reads a cache, the least recently used entry first. limit is how many entries it takes.
func LRU[K comparable, V any](c *Codec, l *simplelru.LRU[K, V], limit int, each func(*K, *V)) {
	n := c.Len(l.Len())
	if !c.reading {
		for _, k := range l.Keys() {
			v, _ := l.Peek(k)
			each(&k, &v)
		}
		return
	}
	c.Check(n <= limit, "a cache with more entries than it takes")
	for i := 0; i < n && c.OK(); i++ {
		var k K
		var v V
		if each(&k, &v); c.OK() {
			l.Add(k, v)
		}
	}
	c.Check(l.Len() == n, "a cache with the same key twice")
}

// Message writes or reads a message; nil is none.
func Message[T any, M interface {
	*T
	proto.Message
}](c *Codec, m *M) {
	there := *m != nil
	if c.Bool(&there); !there {
		*m = nil
		return
	}
	if c.reading {
		*m = new(T)
		if err := proto.Unmarshal(c.take(uint64(c.Len(0))), *m); err != nil {
			c.Fail("%v", err)
		}
		return
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(*m)
	if err != nil {
		c.Fail("%v", err)
		return
	}
	c.Len(len(b))
	c.b = append(c.b, b...)
}

// Shared are the objects of a type that several places point to, in circles maybe. Where a pointer stands, Ref writes
// a number; Each writes the objects themselves. The zero value is ready.
type Shared[T any] struct {
	// Least is how many bytes an object takes at least; it bounds what damaged input makes.
	Least   int
	numbers map[*T]uint64
	all     []*T
	done    int // the first ones, which are written or read
}

// Ref writes or reads a pointer, which may be nil.
func (s *Shared[T]) Ref(c *Codec, p **T) {
	if c.reading {
		s.read(c, p)
		return
	}
	if *p == nil {
		c.uvarint(0)
		return
	}
	n, ok := s.numbers[*p]
	if !ok {
		if s.numbers == nil {
			s.numbers = map[*T]uint64{}
		}
		s.all = append(s.all, *p)
		n = uint64(len(s.all))
		s.numbers[*p] = n
	}
	c.uvarint(n)
}

func (s *Shared[T]) read(c *Codec, p **T) {
	*p = nil
	switch n := c.uvarint(0); {
	case n == 0:
	case n <= uint64(len(s.all)):
		*p = s.all[n-1]
	case n == uint64(len(s.all))+1 && (len(s.all)-s.done)*max(s.Least, 1) <= len(c.b):
		*p = new(T)
		s.all = append(s.all, *p)
	default:
		c.Fail("an object has number %d of %d", n, len(s.all))
	}
}

// Must is Ref for a pointer that is never nil.
func (s *Shared[T]) Must(c *Codec, p **T) {
	s.Ref(c, p)
	c.Check(*p != nil, "a reference to nothing")
}

// Each writes or reads the objects that Ref has met since, and says whether there were any. Objects that point to
// others make more: call it until all kinds of objects are done.
func (s *Shared[T]) Each(c *Codec, each func(*T)) (any bool) {
	for ; s.done < len(s.all) && c.OK(); s.done++ {
		each(s.all[s.done])
		any = true
	}
	return any
}

// All are the objects that were met.
func (s *Shared[T]) All() []*T { return s.all }
