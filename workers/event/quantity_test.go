package event_test

import (
	"math"
	"testing"

	"millrace.dev/millrace/workers/event"
)

func TestQuantity(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, "", "0"},
		{0.25, "1", "0.25"},
		{12345.678, "ms", "1.235e+04 ms"},
		{1023, "By", "1023 By"},
		{1536, "By", "1.5 KiB"},
		{-3 << 20, "By", "-3.0 MiB"},
		{5 << 30, "By/s", "5.0 GiB/s"},
		{math.NaN(), "s", "NaN s"},
		{math.Inf(1), "By", "+Inf GiB"},
	} {
		if got := event.Quantity(c.v, c.unit); got != c.want {
			t.Errorf("%g %q is %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}
