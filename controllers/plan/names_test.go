package plan

import (
	"strings"
	"testing"
)

func TestOverlap(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"a.>", "a.>", true},
		{"a.>", "b.>", false},
		{"a.>", "a", false}, // > stands for one token or more
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a.b.>", true},
		{"a.b.>", "a.c.>", false},
		{"a.*", "a.b", true},
		{"a.*", "a.b.c", false},
		{"a.*.c", "*.b.c", true},
		{"a.*.c", "a.b.d", false},
		{"*", "a", true},
		{">", "a.b.c", true},
		{"ab.>", "a.>", false},
	}
	for _, test := range tests {
		if got := overlap(test.a, test.b); got != test.want {
			t.Errorf("overlap(%q, %q) = %v, want %v", test.a, test.b, got, test.want)
		}
		if got := overlap(test.b, test.a); got != test.want {
			t.Errorf("overlap(%q, %q) = %v, want %v", test.b, test.a, got, test.want)
		}
	}
}

// FuzzOverlap compares overlap with trying subjects out: patterns that both match a subject
// do overlap.
func FuzzOverlap(f *testing.F) {
	f.Add("a.>", "a.*", "a.b")
	f.Add("*.b", "a.>", "a.b")
	f.Fuzz(func(t *testing.T, a, b, subject string) {
		if checkSubject(subject) != "" || !pattern(a) || !pattern(b) {
			return
		}
		if matches(a, subject) && matches(b, subject) && !overlap(a, b) {
			t.Errorf("%q and %q both match %q but do not overlap", a, b, subject)
		}
	})
}

func pattern(s string) bool {
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		if token == "" || (token == ">" && i < len(tokens)-1) {
			return false
		}
	}
	return true
}

func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		switch {
		case i >= len(s):
			return false
		case token == ">":
			return true
		case token != "*" && token != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}

func TestStreamName(t *testing.T) {
	if got, want := streamName("team-a", "my-pipeline", "dead.letters"), "TEAM_A_MY_PIPELINE_DEAD_LETTERS"; got != want {
		t.Errorf("streamName is %q, want %q", got, want)
	}
}
