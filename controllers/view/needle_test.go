package view

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestNeedle: it is found where bytes.Contains finds it, and nowhere else.
func TestNeedle(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abc"[random.IntN(3)]
		}
		return string(b)
	}
	held := 0
	for range 20_000 {
		id, in := text(random.IntN(12)), text(random.IntN(200))
		if random.IntN(4) == 0 {
			at := random.IntN(len(in) + 1)
			in = in[:at] + id + in[at:]
		}
		want := bytes.Contains([]byte(in), []byte(id))
		if want {
			held++
		}
		if got := newNeedle(id).in([]byte(in)); got != want {
			t.Fatalf("%q in %q: got %v, want %v", id, in, got, want)
		}
	}
	if held < 1000 || held > 19_000 {
		t.Errorf("%d texts held it", held)
	}
	long := strings.Repeat("x", 300) + "y" + strings.Repeat("z", 300)
	for in, want := range map[string]bool{long: true, "zz" + long + "zz": true, long[1:] + long[:600]: false, strings.Repeat("z", 700): false, "": false} {
		if got := newNeedle(long).in([]byte(in)); got != want {
			t.Errorf("the long one in %d bytes: got %v, want %v", len(in), got, want)
		}
	}
}

// FuzzNeedle is TestNeedle with texts of others.
func FuzzNeedle(f *testing.F) {
	f.Add("order-1", []byte("order-2 order-1"))
	f.Add("\x00\xff\x00\xff", []byte("\x00\xff\x00\x00\xff\x00\xff"))
	f.Fuzz(func(t *testing.T, id string, in []byte) {
		if got, want := newNeedle(id).in(in), bytes.Contains(in, []byte(id)); got != want {
			t.Errorf("%q in %q: got %v, want %v", id, in, got, want)
		}
	})
}
