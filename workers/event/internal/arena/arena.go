package arena

// Arena hands out byte slices that are all given back at once. It is not safe for
// concurrent use.
type Arena struct {
	chunks [][]byte // length = used
	at     int      // index of the chunk in use
	// size is what was needed at once so far, as far as it is kept.
	size int
}

const (
	chunkSize = 64 << 10
	// arenaKeep is how much memory an arena keeps when it is reset: what one unusual
	// message needed is not held for ever.
	arenaKeep = 2 << 20
)

// keptItems is how many elements a slice that is used again may have room for, as arenaKeep is for bytes.
const keptItems = 8192

// Kept returns s without elements, or nil where its room is unusual.
func Kept[T any](s []T) []T {
	if cap(s) > keptItems {
		return nil
	}
	return s[:0]
}

// Take returns an empty slice with room for n bytes.
func (a *Arena) Take(n int) []byte {
	for ; a.at < len(a.chunks); a.at++ {
		c := a.chunks[a.at]
		if cap(c)-len(c) >= n {
			a.chunks[a.at] = c[:len(c)+n]
			return c[len(c) : len(c) : len(c)+n]
		}
	}
	c := make([]byte, n, max(n, chunkSize, a.size))
	a.chunks = append(a.chunks, c)
	return c[0:0:n]
}

// Held is how much was taken since the last reset, in bytes.
func (a *Arena) Held() (bytes int) {
	for _, c := range a.chunks {
		bytes += len(c)
	}
	return bytes
}

// Copied returns a copy of b.
func (a *Arena) Copied(b []byte) []byte { return append(a.Take(len(b)), b...) }

// Append appends v to b, which this arena gave, in place where it can.
func (a *Arena) Append(b, v []byte) []byte {
	if cap(b)-len(b) >= len(v) {
		return append(b, v...)
	}
	if grown, ok := a.extend(b, len(v)); ok {
		return append(grown, v...)
	}
	bigger := a.Take(max(len(b)+len(v), 2*cap(b), 128))
	return append(append(bigger, b...), v...)
}

// extend makes room for n more bytes behind b if b was handed out last.
func (a *Arena) extend(b []byte, n int) ([]byte, bool) {
	if a.at >= len(a.chunks) || cap(b) == 0 {
		return nil, false
	}
	c := a.chunks[a.at]
	more := n - (cap(b) - len(b))
	last := len(c) >= cap(b) && &c[len(c)-1] == &b[:cap(b)][cap(b)-1]
	if !last || cap(c)-len(c) < more {
		return nil, false
	}
	start := len(c) - cap(b)
	c = c[:len(c)+more]
	a.chunks[a.at] = c
	return c[start : start+len(b) : len(c)], true
}

// Reset takes everything back. What did not fit into one chunk will the next time.
func (a *Arena) Reset() {
	if len(a.chunks) == 1 && cap(a.chunks[0]) <= arenaKeep {
		a.chunks[0], a.at = a.chunks[0][:0], 0
		return
	}
	used := 0
	for _, c := range a.chunks {
		used += len(c)
	}
	// Somewhat more than was needed: the next message is not of the same size.
	a.size = min(max(a.size, used+used/4), arenaKeep)
	clear(a.chunks)
	a.chunks, a.at = a.chunks[:0], 0
}
