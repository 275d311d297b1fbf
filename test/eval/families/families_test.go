package families

import (
	"math"
	"slices"
	"testing"
)

func TestFamilies(t *testing.T) {
	all := All()
	if len(all) != 21 {
		t.Errorf("%d families, want 21", len(all))
	}
	names := map[string]bool{}
	for _, f := range all {
		values := f.Values(1, 20_000)
		names[f.Name] = true
		if !slices.Equal(values, f.Values(1, 20_000)) {
			t.Errorf("%s: the same seed makes other values", f.Name)
		}
		if f.Name != "constant" && slices.Equal(values, f.Values(2, 20_000)) {
			t.Errorf("%s: another seed makes the same values", f.Name)
		}
		for i, v := range values {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("%s: value %d is %g", f.Name, i, v)
			}
		}
	}
	if len(names) != len(all) {
		t.Errorf("%d names of %d families", len(names), len(all))
	}
}

// TestPoisson compares mean and variance with what they are.
func TestPoisson(t *testing.T) {
	for name, mean := range map[string]float64{"Poisson .2": 0.2, "Poisson 5": 5, "Poisson 200": 200} {
		i := slices.IndexFunc(All(), func(f Family) bool { return f.Name == name })
		values := All()[i].Values(3, 50_000)
		sum, square := 0.0, 0.0
		for _, v := range values {
			sum += v
			square += v * v
		}
		n := float64(len(values))
		if got := sum / n; math.Abs(got-mean) > 0.03*mean {
			t.Errorf("%s: mean %g", name, got)
		}
		if got := square/n - sum/n*sum/n; math.Abs(got-mean) > 0.05*mean {
			t.Errorf("%s: variance %g", name, got)
		}
	}
}
