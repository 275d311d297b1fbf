package event

import (
	"strconv"
	"strings"
)

// Quantity writes a value and its UCUM unit for a person: bytes are scaled (KiB, MiB, GiB), everything else has four digits.
func Quantity(v float64, unit string) string {
	if base, _ := strings.CutSuffix(unit, "/s"); base == "By" {
		for _, p := range []struct {
			size float64
			name string
		}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
			if v >= p.size || v <= -p.size {
				return strconv.FormatFloat(v/p.size, 'f', 1, 64) + " " + p.name + unit[len(base):]
			}
		}
	}
	text := strconv.FormatFloat(v, 'g', 4, 64)
	if unit == "" || unit == "1" {
		return text
	}
	return text + " " + unit
}
