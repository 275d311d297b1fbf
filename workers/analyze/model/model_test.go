package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// close says whether a score is that of the library, to 1e-5 of it.
func closeTo(got, want float64) bool {
	return math.Abs(got-want) <= 1e-5*max(1, math.Abs(want))
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func read(t testing.TB, format Format, data []byte) *Model {
	t.Helper()
	m, err := Read(format, data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// floats are numbers of JSON, with NaN for null.
type floats []float64

func (f *floats) UnmarshalJSON(data []byte) error {
	var values []*float64
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	for _, v := range values {
		if v == nil {
			v = new(math.NaN())
		}
		*f = append(*f, *v)
	}
	return nil
}

// TestSameScores: what testdata/train.py trained scores as in the library that trained it.
func TestSameScores(t *testing.T) {
	for name, tc := range map[string]struct {
		format      Format
		trees       int
		probability bool
		unnamed     bool
	}{
		"xgboost-logistic":   {XGBoost, 20, true, false},
		"xgboost-unbalanced": {XGBoost, 3, true, false},
		"xgboost-unnamed":    {XGBoost, 20, false, true},
		"xgboost-forest":     {XGBoost, 12, false, false},
		"xgboost-poisson":    {XGBoost, 5, false, false},
		"xgboost-gamma":      {XGBoost, 5, false, false},
		"xgboost-tweedie":    {XGBoost, 5, false, false},
		"xgboost-huber":      {XGBoost, 5, false, false},
		"xgboost-rank":       {XGBoost, 2, false, false},
		"linear":             {Linear, 0, false, false},
		"logistic":           {Linear, 0, true, false},
		"poisson":            {Linear, 0, false, false},
		"isolation":          {IsolationForest, 50, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := read(t, tc.format, file(t, name+".json"))
			if m.Trees() != tc.trees || m.Probability() != tc.probability || m.Named() == tc.unnamed {
				t.Errorf("%d trees, probability %t, named %t", m.Trees(), m.Probability(), m.Named())
			}
			var reference struct {
				Rows   []floats `json:"rows"`
				Scores floats   `json:"scores"`
			}
			if err := json.Unmarshal(file(t, name+".rows.json"), &reference); err != nil {
				t.Fatal(err)
			}
			if len(reference.Rows) != 120 || len(reference.Scores) != 120 {
				t.Fatalf("%d rows and %d scores, want 120", len(reference.Rows), len(reference.Scores))
			}
			worst := 0.0
			for i, row := range reference.Rows {
				want := reference.Scores[i]
				got, err := m.Score(row)
				if math.IsNaN(want) && errors.Is(err, ErrScore) {
					continue
				}
				if err != nil || !closeTo(got, want) {
					t.Errorf("row %d: got %v, %v, want %v", i, got, err, want)
				}
				worst = max(worst, math.Abs(got-want)/max(1, math.Abs(want)))
			}
			t.Logf("largest difference %.1e", worst)
		})
	}
}

// TestRefused: the message says what is not known.
func TestRefused(t *testing.T) {
	lightGBM := string(file(t, "small.lightgbm.txt"))
	xgboost := string(file(t, "xgboost-rank.json"))
	logistic := string(file(t, "logistic.json"))
	isolation := `{"format": "millrace.dev/isolation-forest/v1", "features": ["a"], "maxSamples": 8,
		"trees": [{"feature": [0, 0, 0], "threshold": [1, 0, 0], "left": [1, -1, -1], "right": [2, -1, -1], "samples": [8, 3, 5]}]}`
	change := func(text, from, to string) string {
		t.Helper()
		if !strings.Contains(text, from) {
			t.Fatalf("the model has no %q", from)
		}
		return strings.Replace(text, from, to, 1)
	}
	for name, tc := range map[string]struct {
		format Format
		text   string
		want   string
	}{
		"format":             {"ONNX", lightGBM, `format "ONNX" is unknown`},
		"large":              {Linear, strings.Repeat(" ", MaxBytes+1), "bytes, at most"},
		"classes":            {XGBoost, string(file(t, "refused-classes.json")), `num_class is "3"`},
		"dart":               {XGBoost, string(file(t, "refused-dart.json")), `booster "dart" is unknown`},
		"gblinear":           {XGBoost, string(file(t, "refused-gblinear.json")), `booster "gblinear" is unknown`},
		"hinge":              {XGBoost, string(file(t, "refused-hinge.json")), `objective "binary:hinge" is unknown`},
		"logitraw":           {XGBoost, string(file(t, "refused-logitraw.json")), `objective "binary:logitraw" is unknown`},
		"categories":         {XGBoost, string(file(t, "refused-categories.json")), "splits on categories are not known"},
		"xgboost is text":    {XGBoost, lightGBM, "not the JSON of Booster.save_model"},
		"xgboost version":    {XGBoost, change(xgboost, `"version":[1,7,4]`, `"version":[9]`), "version [9] is unknown"},
		"xgboost truncated":  {XGBoost, xgboost[:len(xgboost)/2], "not the JSON of Booster.save_model"},
		"xgboost base":       {XGBoost, change(xgboost, `"base_score":"5E-1"`, `"base_score":"[5E-1,2E-1]"`), "must be one number"},
		"xgboost infinite":   {XGBoost, change(xgboost, `"base_score":"5E-1"`, `"base_score":"inf"`), "must be one number"},
		"xgboost features":   {XGBoost, change(xgboost, `"num_class":"0","num_feature":"5"`, `"num_class":"0","num_feature":"4"`), "names 5 features and has 4"},
		"xgboost many":       {XGBoost, change(xgboost, `"num_class":"0","num_feature":"5"`, `"num_class":"0","num_feature":"1000000000"`), "must have 1 to 4096"},
		"xgboost trees":      {XGBoost, change(xgboost, `"num_trees":"2"`, `"num_trees":"3"`), `num_trees is "3", and there are 2`},
		"xgboost nodes":      {XGBoost, change(xgboost, `"num_nodes":"`, `"num_nodes":"9`), "num_nodes is"},
		"xgboost loop":       {XGBoost, change(xgboost, `"left_children":[1,`, `"left_children":[0,`), "is no tree"},
		"xgboost child":      {XGBoost, change(xgboost, `"left_children":[1,`, `"left_children":[-7,`), "is no tree"},
		"xgboost far child":  {XGBoost, change(xgboost, `"left_children":[1,`, `"left_children":[2000000000,`), "is no tree"},
		"lightgbm is JSON":   {LightGBM, xgboost, `does not begin with "tree"`},
		"lightgbm truncated": {LightGBM, lightGBM[:strings.Index(lightGBM, "end of trees")], "part of the file is missing"},
		"lightgbm tree gone": {LightGBM, change(lightGBM, "tree_sizes=400 400", "tree_sizes=400"), "tree_sizes names 1 trees"},
		"lightgbm version":   {LightGBM, change(lightGBM, "version=v4", "version=v5"), `version "v5" is unknown`},
		"lightgbm objective": {LightGBM, change(lightGBM, "objective=binary sigmoid:1", "objective=multiclassova num_class:3"), `the unknown argument "num_class:3"`},
		"lightgbm sqrt":      {LightGBM, change(lightGBM, "objective=binary sigmoid:1", "objective=regression sqrt"), `objective "regression" has the unknown argument "sqrt"`},
		"lightgbm custom":    {LightGBM, change(lightGBM, "objective=binary sigmoid:1\n", ""), "names no objective"},
		"lightgbm sigmoid":   {LightGBM, change(lightGBM, "sigmoid:1", "sigmoid:-1"), "unknown argument"},
		"lightgbm classes":   {LightGBM, change(lightGBM, "num_class=1", "num_class=3"), `num_class is "3"`},
		"lightgbm category":  {LightGBM, change(lightGBM, "decision_type=10", "decision_type=1"), "splits on categories are not known"},
		"lightgbm num_cat":   {LightGBM, change(lightGBM, "num_cat=0", "num_cat=1"), "splits on categories are not known"},
		"lightgbm missing":   {LightGBM, change(lightGBM, "decision_type=10", "decision_type=14"), "decision_type 14 is unknown"},
		"lightgbm linear":    {LightGBM, change(lightGBM, "is_linear=0", "is_linear=1"), "linear trees are not known"},
		"lightgbm loop":      {LightGBM, change(lightGBM, "left_child=1", "left_child=0"), "is no tree"},
		"lightgbm feature":   {LightGBM, change(lightGBM, "split_feature=0", "split_feature=3"), "asks for feature 3, the model has 3"},
		"lightgbm leaves":    {LightGBM, change(lightGBM, "num_leaves=3", "num_leaves=900000"), "less than 900000 values"},
		"lightgbm NaN":       {LightGBM, change(lightGBM, "leaf_value=0.5", "leaf_value=nan"), "is no number"},
		"lightgbm names":     {LightGBM, change(lightGBM, "feature_names=a b c", "feature_names=a a c"), "there twice"},
		"linear member":      {Linear, change(logistic, `"link"`, `"class": 1, "link"`), `unknown field "class"`},
		"linear link":        {Linear, change(logistic, `"link": "logistic"`, `"link": "probit"`), `link "probit" is unknown`},
		"linear format":      {Linear, isolation, "unknown field"},
		"linear lists":       {Linear, change(logistic, `"center": [`, `"center": [1, `), "must have 5 values"},
		"linear scale":       {Linear, `{"format": "millrace.dev/linear/v1", "features": ["a"], "scale": [0], "coefficients": [1], "link": "identity"}`, "scale[0] is 0"},
		"linear more":        {Linear, logistic + "{}", "more follows"},
		"isolation loop":     {IsolationForest, change(isolation, `"left": [1`, `"left": [0`), "is no tree"},
		"isolation lists":    {IsolationForest, change(isolation, `"samples": [8, `, `"samples": [`), "same number of values"},
		"isolation samples":  {IsolationForest, change(isolation, `[8, 3, 5]`, `[8, 0, 5]`), "0 samples, at least 1"},
		"isolation trees":    {IsolationForest, change(isolation, `"maxSamples": 8`, `"maxSamples": 1`), "at least 2"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Read(tc.format, []byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ...%s...", err, tc.want)
			}
		})
	}
	read(t, IsolationForest, []byte(isolation)) // the others are refused for the change alone
}

// TestDeepTree: a chain of nodes ends somewhere.
func TestDeepTree(t *testing.T) {
	chain := func(n int) *tree {
		c := &tree{leaves: make([]float64, n+1)}
		for i := range n {
			c.splits = append(c.splits, split{left: int32(i + 1), right: ^int32(i)})
		}
		c.splits[n-1].left = ^int32(n)
		return c
	}
	if err := new(forest).add(chain(maxDepth), 1); err != nil {
		t.Error(err)
	}
	if err := new(forest).add(chain(maxDepth+1), 1); err == nil || !strings.Contains(err.Error(), "deeper than") {
		t.Errorf("got %v", err)
	}
}

// TestMissing is the table of NumericalDecision of LightGBM (include/LightGBM/tree.h), and that of a tree of XGBoost.
func TestMissing(t *testing.T) {
	nan, left, right := math.NaN(), 1.0, 2.0
	for name, tc := range map[string]struct {
		decision  string
		threshold string
		value     float64
		want      float64
	}{
		"none, NaN is 0, below":          {"0", "0.5", nan, left},
		"none, NaN is 0, above":          {"2", "-0.5", nan, right}, // whatever the default direction
		"none, 0":                        {"2", "-0.5", 0, right},
		"none, equal":                    {"0", "0.5", 0.5, left},
		"zero, NaN, default left":        {"6", "-0.5", nan, left},
		"zero, NaN, default right":       {"4", "0.5", nan, right},
		"zero, 0, default left":          {"6", "-0.5", 0, left},
		"zero, 0, default right":         {"4", "0.5", 0, right},
		"zero, minus 0":                  {"4", "0.5", math.Copysign(0, -1), right},
		"zero, nearly":                   {"4", "0.5", 1e-36, right},
		"zero, nearly from below":        {"4", "0.5", -1e-36, right},
		"zero, not any more":             {"4", "0.5", 2e-35, left},
		"zero, value":                    {"4", "0.5", 0.4, left},
		"zero, value above":              {"6", "0.5", 0.6, right},
		"NaN as NaN, default left":       {"10", "-0.5", nan, left},
		"NaN as NaN, default right":      {"8", "0.5", nan, right},
		"NaN, 0 is a value":              {"10", "-0.5", 0, right},
		"NaN, 0 is a value, below":       {"8", "0.5", 0, left},
		"huge":                           {"10", "0.5", 1e300, right},
		"huge and negative":              {"8", "0.5", -1e300, left},
		"threshold is more than a float": {"0", "0.1", 0.10000000000000002, right},
	} {
		t.Run(name, func(t *testing.T) {
			text := "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=regression\nfeature_names=x\ntree_sizes=1\n\n" +
				"Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=" + tc.threshold + "\ndecision_type=" + tc.decision +
				"\nleft_child=-1\nright_child=-2\nleaf_value=1 2\nis_linear=0\n\n\nend of trees\n"
			got, err := read(t, LightGBM, []byte(text)).Score([]float64{tc.value})
			if err != nil || got != tc.want {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

// TestWrongValues: what no model of the kind was made for has no score.
func TestWrongValues(t *testing.T) {
	xgboost, lightGBM := read(t, XGBoost, file(t, "xgboost-rank.json")), read(t, LightGBM, file(t, "small.lightgbm.txt"))
	logistic, isolation := read(t, Linear, file(t, "logistic.json")), read(t, IsolationForest, file(t, "isolation.json"))
	poisson := read(t, Linear, file(t, "poisson.json"))
	row := func(v float64) []float64 { return []float64{v, 1, 1, 1, 1} }
	for name, tc := range map[string]struct {
		m    *Model
		x    []float64
		want error
	}{
		"xgboost, infinite":           {xgboost, row(math.Inf(1)), ErrInfinite},
		"xgboost, beyond a float":     {xgboost, row(1e39), ErrInfinite},
		"xgboost, missing":            {xgboost, row(math.NaN()), nil},
		"lightgbm, infinite":          {lightGBM, row(math.Inf(-1)), ErrInfinite},
		"lightgbm, beyond a float":    {lightGBM, row(1e39), nil},
		"lightgbm, missing":           {lightGBM, row(math.NaN()), nil},
		"linear, infinite":            {logistic, row(math.Inf(1)), ErrInfinite},
		"linear, missing":             {logistic, row(math.NaN()), ErrMissing},
		"isolation forest, missing":   {isolation, row(math.NaN()), ErrMissing},
		"isolation forest, infinite":  {isolation, row(math.Inf(1)), ErrInfinite},
		"score is infinite":           {poisson, row(1e6), ErrScore},
		"the largest number that is":  {logistic, row(math.MaxFloat64), nil},
		"the smallest number that is": {isolation, row(-math.MaxFloat32), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := tc.m.Score(tc.x); !errors.Is(err, tc.want) || err == nil && math.IsNaN(got) {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

// TestLineEnds: a model that has been through a system with other line ends is the same one.
func TestLineEnds(t *testing.T) {
	text := file(t, "small.lightgbm.txt")
	x := []float64{0.5, 2, math.NaN()}
	want, err := read(t, LightGBM, text).Score(x)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, LightGBM, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))).Score(x); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
