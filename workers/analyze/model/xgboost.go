package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// xgboostFile is the JSON of XGBoost (doc/model.schema there). It writes most numbers of its parameters as texts.
type xgboostFile struct {
	Learner struct {
		FeatureNames []string `json:"feature_names"`
		Booster      struct {
			Name  string `json:"name"`
			Model struct {
				Trees []xgboostTree `json:"trees"`
				Param struct {
					NumTrees string `json:"num_trees"`
				} `json:"gbtree_model_param"`
			} `json:"model"`
		} `json:"gradient_booster"`
		Param struct {
			BaseScore  string `json:"base_score"`
			NumClass   string `json:"num_class"`
			NumFeature string `json:"num_feature"`
			NumTarget  string `json:"num_target"`
		} `json:"learner_model_param"`
		Objective struct {
			Name string `json:"name"`
		} `json:"objective"`
	} `json:"learner"`
	Version []int `json:"version"`
}

type xgboostTree struct {
	Left       []int32       `json:"left_children"`
	Right      []int32       `json:"right_children"`
	Conditions []float32     `json:"split_conditions"` // of a leaf: its value
	Indices    []int32       `json:"split_indices"`
	Types      []int32       `json:"split_type"`
	Default    []xgboostFlag `json:"default_left"`
	Param      struct {
		NumNodes string `json:"num_nodes"`
		Vector   string `json:"size_leaf_vector"`
		Deleted  string `json:"num_deleted"`
	} `json:"tree_param"`
}

// xgboostFlag is true or false, or 1 or 0 as some versions write it.
type xgboostFlag bool

// UnmarshalJSON reads it.
func (f *xgboostFlag) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "true", "1":
		*f = true
	case "false", "0":
		*f = false
	default:
		return fmt.Errorf("default_left: %q is no flag", clip(string(data)))
	}
	return nil
}

// errCategories is also what a model with such splits is refused with before they are seen: the library writes NaN into it, which is no JSON.
var errCategories = errors.New("splits on categories are not known. Train without enable_categorical, or encode them as numbers")

// readXGBoost reads the JSON that XGBoost 1.0 and newer write.
func readXGBoost(data []byte) (*Model, error) {
	var file xgboostFile
	if err := json.Unmarshal(data, &file); err != nil {
		if bytes.Contains(data, []byte("NaN")) {
			return nil, errCategories
		}
		return nil, fmt.Errorf("it is not the JSON of Booster.save_model: %w", err)
	}
	l := &file.Learner
	if len(file.Version) == 0 || file.Version[0] < 1 || file.Version[0] > 3 {
		return nil, fmt.Errorf("version %v is unknown: 1, 2 and 3 are", file.Version[:min(3, len(file.Version))])
	}
	if l.Booster.Name != "gbtree" {
		return nil, fmt.Errorf("booster %q is unknown: gbtree is", clip(l.Booster.Name))
	}
	if n := l.Param.NumClass; n != "" && n != "0" && n != "1" {
		return nil, fmt.Errorf("num_class is %q: a model with one output has 0", clip(n))
	}
	if n := l.Param.NumTarget; n != "" && n != "1" {
		return nil, fmt.Errorf("num_target is %q: a model with one output has 1", clip(n))
	}
	features, err := strconv.Atoi(l.Param.NumFeature)
	if err != nil {
		return nil, fmt.Errorf("num_feature is %q, which is no number", clip(l.Param.NumFeature))
	}
	f := &forest{floats: true}
	m := &Model{rounds: true, eval: f}
	if err := m.name(l.FeatureNames, features); err != nil {
		return nil, err
	}
	if err := xgboostObjective(m, f, l.Objective.Name, l.Param.BaseScore); err != nil {
		return nil, err
	}
	trees := l.Booster.Model.Trees
	if n := l.Booster.Model.Param.NumTrees; n != strconv.Itoa(len(trees)) || len(trees) == 0 {
		return nil, fmt.Errorf("num_trees is %q, and there are %d", clip(n), len(trees))
	}
	for i := range trees {
		t, err := trees[i].tree()
		if err == nil {
			err = f.add(t, features)
		}
		if err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
	}
	m.trees = len(f.roots)
	return m, nil
}

// xgboostObjective is PredTransform and ProbToMargin of the objective (src/objective of XGBoost). base_score is in the unit of the score.
func xgboostObjective(m *Model, f *forest, name, baseScore string) error {
	text := strings.TrimSuffix(strings.TrimPrefix(baseScore, "["), "]") // version 3 writes a list
	base, err := strconv.ParseFloat(text, 32)
	if err != nil || !finite(base) {
		return fmt.Errorf("base_score is %q, must be one number", clip(baseScore))
	}
	f.link = identity
	switch name {
	case "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror",
		"rank:pairwise", "rank:ndcg", "rank:map":
	case "binary:logistic", "reg:logistic":
		f.link, m.probability = logistic(1), true
		if !(base > 0 && base < 1) {
			return fmt.Errorf("base_score is %g, must be between 0 and 1 for %s", base, name)
		}
		base = -math.Log(1/base - 1)
	case "count:poisson", "reg:gamma", "reg:tweedie":
		if !(base > 0) {
			return fmt.Errorf("base_score is %g, must be above 0 for %s", base, name)
		}
		f.link, base = math.Exp, math.Log(base)
	default:
		return fmt.Errorf("objective %q is unknown", clip(name))
	}
	f.base = base
	return nil
}

func (x *xgboostTree) tree() (*tree, error) {
	n := len(x.Left)
	switch {
	case x.Param.NumNodes != strconv.Itoa(n) || n == 0:
		return nil, fmt.Errorf("num_nodes is %q, and there are %d", clip(x.Param.NumNodes), n)
	case len(x.Right) != n || len(x.Conditions) != n || len(x.Indices) != n || len(x.Default) != n || len(x.Types) != n && len(x.Types) != 0:
		return nil, fmt.Errorf("its lists must all have %d values", n)
	case x.Param.Vector != "" && x.Param.Vector != "0" && x.Param.Vector != "1":
		return nil, fmt.Errorf("size_leaf_vector is %q: a model with one output has 1", clip(x.Param.Vector))
	case x.Param.Deleted != "" && x.Param.Deleted != "0":
		return nil, errors.New("it has deleted nodes, of which it does not say which")
	}
	// at says where each node went: the file has inner nodes and leaves in one list.
	t, at := &tree{}, make([]int32, n)
	inner, leaves := int32(0), int32(0)
	for i := range n {
		if (x.Left[i] == -1) != (x.Right[i] == -1) {
			return nil, errShape
		}
		if x.Left[i] == -1 {
			at[i] = ^leaves
			leaves++
			t.leaves = append(t.leaves, float64(x.Conditions[i]))
		} else {
			at[i] = inner
			inner++
		}
	}
	t.root = at[0]
	for i := range n {
		if x.Left[i] == -1 {
			continue
		}
		made, err := x.node(i, at)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		t.splits = append(t.splits, made)
	}
	return t, nil
}

func (x *xgboostTree) node(i int, at []int32) (split, error) {
	n := int32(len(at))
	switch {
	case len(x.Types) > 0 && x.Types[i] != 0:
		return split{}, errCategories
	case x.Left[i] < 0 || x.Left[i] >= n || x.Right[i] < 0 || x.Right[i] >= n:
		return split{}, errShape
	case x.Indices[i] < 0 || x.Indices[i] >= MaxFeatures:
		return split{}, fmt.Errorf("asks for feature %d", x.Indices[i])
	}
	// A float is below the threshold when it is at most the float before that.
	made := split{
		threshold: float64(math.Nextafter32(x.Conditions[i], float32(math.Inf(-1)))),
		left:      at[x.Left[i]], right: at[x.Right[i]], feature: uint16(x.Indices[i]), missing: nanMissing,
	}
	if x.Default[i] {
		made.missing |= defaultLeft
	}
	return made, nil
}
