package view

import "testing"

func TestCut(t *testing.T) {
	for s, want := range map[string]string{"abc": "abc", "abcdef": "abcd…", "abcé": "abc…", "\u202eabcdef": "\u202ea…"} {
		if got := Cut(s, 4); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}
