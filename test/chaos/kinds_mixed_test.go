package chaos

import "testing"

// TestMixed: an event of a step that was cut may be in part by one edition and in part by another one, and is nowhere twice and nowhere missing.
func TestMixed(t *testing.T) {
	b, all := &book{column: &column{marks: transformed}}, []int{1, 0, 2} // edition 2 makes a third piece
	for name, test := range map[string]struct {
		got  []string
		want bool
	}{
		"by two editions":          {[]string{"out 1 /1", "out 2 /0"}, true},
		"with a piece of one":      {[]string{"out 0 /0", "out 1 /1", "out 2 /2"}, true},
		"a piece is missing":       {[]string{"out 1 /1"}, false},
		"a piece is there twice":   {[]string{"out 0 /0", "out 1 /1", "out 2 /0"}, false},
		"a piece is of no edition": {[]string{"out 3 /0", "out 1 /1"}, false},
	} {
		if got := new(kindsLedger).mixed(b, 1, all, test.got); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
