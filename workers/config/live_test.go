package config_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

// full is a config in which every member is set, of all kinds at once.
func full(t *testing.T) *config.StageConfig {
	t.Helper()
	c := &config.StageConfig{}
	fill(t, reflect.ValueOf(c).Elem(), 0)
	return c
}

// fill sets everything below v. A chained stage has no chain.
func fill(t *testing.T, v reflect.Value, chained int) {
	t.Helper()
	if v.Type() == reflect.TypeFor[time.Time]() {
		change(t, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Chain" {
				fill(t, v.Field(i), chained)
			} else if chained == 0 {
				fill(t, v.Field(i), 1)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), chained)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), chained)
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(t, value, chained)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("a"), value)
	default:
		change(t, v)
	}
}

// change gives a number, a text, a bool or a time another value.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	if at, ok := v.Interface().(time.Time); ok {
		v.Set(reflect.ValueOf(at.Add(time.Hour)))
		return
	}
	switch {
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.CanFloat():
		v.SetFloat(v.Float() + 1)
	case v.Kind() == reflect.String:
		v.SetString(v.String() + "x")
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	default:
		t.Fatalf("%s: this test does not know how to change it", v.Type())
	}
}

// each calls do once for each value below v that can be changed, with its path in the manifest of a
// worker, and takes the change back.
func each(t *testing.T, path string, v reflect.Value, do func(path string)) {
	t.Helper()
	try := func(path string, change func()) {
		before := reflect.New(v.Type()).Elem()
		before.Set(v)
		change()
		do(path)
		v.Set(before)
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		try(path, func() { change(t, v) })
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			each(t, strings.TrimPrefix(path+"."+name, "."), v.Field(i), do)
		}
	case reflect.Pointer:
		try(path, v.SetZero)
		each(t, path, v.Elem(), do)
	case reflect.Slice:
		if v.Len() > 0 { // a chained stage has no chain
			try(path, v.SetZero)
			each(t, path+"[]", v.Index(0), do)
		}
	case reflect.Map:
		try(path, v.SetZero)
		key := reflect.ValueOf("a")
		value := reflect.New(v.Type().Elem()).Elem()
		value.Set(v.MapIndex(key))
		each(t, path+"{}", value, func(path string) {
			before := v.MapIndex(key)
			v.SetMapIndex(key, value)
			do(path)
			v.SetMapIndex(key, before)
		})
	default:
		try(path, func() { change(t, v) })
	}
}

// TestRevision changes one member after another: those that the table of kinds calls live, with all below them, and no
// others, leave the revision as it is.
func TestRevision(t *testing.T) {
	live := func(path string) bool {
		path = strings.ReplaceAll(strings.TrimPrefix(path, "chain[]."), "[]", ".")
		for _, k := range config.Kinds() {
			for _, member := range k.Live {
				if strings.HasPrefix(path+".", string(k.Kind)+"."+member+".") {
					return true
				}
			}
		}
		return false
	}
	want, got, members := map[string]bool{}, map[string]bool{}, 0
	c := full(t)
	was := revision(t, c)
	each(t, "", reflect.ValueOf(c).Elem(), func(path string) {
		members++
		if live(path) {
			want[path] = true
		}
		if revision(t, c) == was {
			got[path] = true
		}
	})
	if members < 100 {
		t.Errorf("%d members were changed: the test does not see them", members)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("members that may change under way (-want +got):\n%s", diff)
	}
	if got := revision(t, c); got != was {
		t.Errorf("the revision is %s, before it was %s: the test left a change behind", got, was)
	}
}

func revision(t *testing.T, c *config.StageConfig) string {
	t.Helper()
	r, err := c.Revision()
	if err != nil {
		t.Fatal(err)
	}
	if len(r) != 16 || strings.Trim(r, "0123456789abcdef") != "" {
		t.Fatalf("revision %q is not 16 hexadecimal digits", r)
	}
	return r
}

// TestFixedLeavesTheConfigAlone: what it leaves out is still in the config that it was made of.
func TestFixedLeavesTheConfigAlone(t *testing.T) {
	c := full(t)
	fixed := c.Fixed()
	if diff := cmp.Diff(full(t), c); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	again := fixed.Fixed()
	if diff := cmp.Diff(fixed, again); diff != "" {
		t.Errorf("Fixed of Fixed (-want +got):\n%s", diff)
	}
	fixed.Chain[0].Stage = "another"
	if c.Chain[0].Stage != "x" {
		t.Error("the chain is shared")
	}
}

// TestMembersDiffer: that a member is set is no live member.
func TestMembersDiffer(t *testing.T) {
	seen := map[string]string{}
	for name, c := range map[string]*config.StageConfig{
		"anomaly":       {Analyze: &config.Analyze{Anomaly: &config.AnalyzeAnomaly{}}},
		"trend":         {Analyze: &config.Analyze{Trend: &config.AnalyzeTrend{}}},
		"window":        {Correlate: &config.Correlate{Window: &config.CorrelateWindow{}}},
		"runs":          {Correlate: &config.Correlate{Runs: &config.CorrelateRuns{}}},
		"realtime":      {Correlate: &config.Correlate{Realtime: &config.CorrelateRealtime{}}},
		"semantic":      {Enrich: &config.Enrich{Semantic: &config.EnrichSemantic{}}},
		"semantic off":  {Enrich: &config.Enrich{}},
		"validate":      {Validate: &config.Validate{}},
		"with dedupe":   {Validate: &config.Validate{Dedupe: &config.Dedupe{}}},
		"other stage":   {Stage: "other", Validate: &config.Validate{}},
		"with a chain":  {Validate: &config.Validate{}, Chain: []config.StageConfig{{Enrich: &config.Enrich{}}}},
		"another chain": {Validate: &config.Validate{}, Chain: []config.StageConfig{{Enrich: &config.Enrich{Semantic: &config.EnrichSemantic{}}}}},
	} {
		r := revision(t, c)
		if other, ok := seen[r]; ok {
			t.Errorf("%s and %s have one revision", name, other)
		}
		seen[r] = name
	}
}
