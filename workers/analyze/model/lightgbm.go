package model

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// readLightGBM reads the text that LightGBM 2.1 to 4 write (versions v2, v3 and v4): lines of key=value, a block for each tree, and "end of trees".
func readLightGBM(data []byte) (*Model, error) {
	header, blocks, err := lightGBMBlocks(string(data))
	if err != nil {
		return nil, err
	}
	m, f, err := lightGBMHeader(header)
	if err != nil {
		return nil, err
	}
	if sizes := strings.Fields(header["tree_sizes"]); len(sizes) != len(blocks) {
		return nil, fmt.Errorf("tree_sizes names %d trees, and there are %d: part of the file is missing", len(sizes), len(blocks))
	}
	for i, b := range blocks {
		t, err := lightGBMTree(b)
		if err == nil {
			err = f.add(t, len(m.features))
		}
		if err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
	}
	if len(f.roots) == 0 {
		return nil, errors.New("it has no tree")
	}
	m.trees = len(f.roots)
	return m, nil
}

// block is the lines of a tree, or of the header, by key.
type block map[string]string

func lightGBMBlocks(text string) (header block, trees []block, err error) {
	header = block{}
	at, ended := header, false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "end of trees" {
			ended = true
			break
		}
		key, value, ok := strings.Cut(line, "=")
		if key == "Tree" {
			if len(trees) == maxTrees {
				return nil, nil, fmt.Errorf("the model has more than %d trees", maxTrees)
			}
			if value != strconv.Itoa(len(trees)) {
				return nil, nil, fmt.Errorf("tree %d is called %q", len(trees), value)
			}
			at = block{}
			trees = append(trees, at)
			continue
		}
		if line == "" {
			continue
		}
		if _, twice := at[key]; twice {
			return nil, nil, fmt.Errorf("%q is there twice in tree %d", clip(key), len(trees)-1)
		}
		if !ok {
			value = ""
		}
		at[key] = value
	}
	if _, ok := header["tree"]; !ok {
		return nil, nil, errors.New(`it does not begin with "tree": is it the text of Booster.save_model?`)
	}
	if !ended {
		return nil, nil, errors.New(`it has no line "end of trees": part of the file is missing`)
	}
	return header, trees, nil
}

// clip shortens a text of a file for a message.
func clip(text string) string {
	if len(text) > 40 {
		return text[:40] + "..."
	}
	return text
}

func lightGBMHeader(h block) (*Model, *forest, error) {
	switch version := h["version"]; version {
	case "v2", "v3", "v4":
	default:
		return nil, nil, fmt.Errorf("version %q is unknown: v2, v3 and v4 are", clip(version))
	}
	for _, key := range [...]string{"num_class", "num_tree_per_iteration"} {
		if n := h[key]; n != "1" {
			return nil, nil, fmt.Errorf("%s is %q: a model with one output has 1", key, clip(n))
		}
	}
	last, err := strconv.Atoi(h["max_feature_idx"])
	if err != nil {
		return nil, nil, fmt.Errorf("max_feature_idx is %q, which is no number", clip(h["max_feature_idx"]))
	}
	_, mean := h["average_output"]
	f := &forest{mean: mean}
	m := &Model{eval: f}
	if err := m.name(strings.Fields(h["feature_names"]), last+1); err != nil {
		return nil, nil, err
	}
	if f.link, m.probability, err = lightGBMObjective(h["objective"]); err != nil {
		return nil, nil, err
	}
	return m, f, nil
}

// lightGBMObjective is what ConvertOutput of the objective does (src/objective of LightGBM).
func lightGBMObjective(objective string) (link func(float64) float64, probability bool, err error) {
	words := strings.Fields(objective)
	if len(words) == 0 {
		return nil, false, errors.New("it names no objective: how its sum becomes a score is not known")
	}
	name, arguments := words[0], words[1:]
	switch name {
	case "binary":
		slope := 1.0
		for _, a := range arguments {
			value, ok := strings.CutPrefix(a, "sigmoid:")
			if slope, err = strconv.ParseFloat(value, 64); !ok || err != nil || !(slope > 0) || !finite(slope) {
				return nil, false, fmt.Errorf("objective %q has the unknown argument %q", name, clip(a))
			}
		}
		return logistic(slope), true, nil
	case "huber", "fair", "quantile": // of which some versions write an argument that changes no score
		return identity, false, nil
	}
	if len(arguments) > 0 && name != "lambdarank" {
		return nil, false, fmt.Errorf("objective %q has the unknown argument %q", clip(name), clip(arguments[0]))
	}
	switch name {
	case "regression", "regression_l1", "mape", "lambdarank", "rank_xendcg":
		return identity, false, nil
	case "poisson", "gamma", "tweedie":
		return math.Exp, false, nil
	case "cross_entropy":
		return logistic(1), true, nil
	case "cross_entropy_lambda":
		return func(x float64) float64 { return math.Log1p(math.Exp(x)) }, false, nil
	}
	return nil, false, fmt.Errorf("objective %q is unknown", clip(name))
}

// Bits of decision_type of LightGBM: a category, the default direction, and two for what is missing.
const (
	lightGBMCategory = 1 << iota
	lightGBMDefaultLeft
	lightGBMMissing = 3 << 2
)

func lightGBMTree(b block) (*tree, error) {
	leaves, err := strconv.Atoi(b["num_leaves"])
	if err != nil || leaves < 1 || leaves > maxNodes+1 {
		return nil, fmt.Errorf("num_leaves is %q, must be 1 to %d", clip(b["num_leaves"]), maxNodes+1)
	}
	if b["num_cat"] != "0" {
		return nil, fmt.Errorf("num_cat is %q: splits on categories are not known. Train without categorical_feature, or encode it as numbers", clip(b["num_cat"]))
	}
	if linear, ok := b["is_linear"]; ok && linear != "0" {
		return nil, errors.New("is_linear is set: linear trees are not known")
	}
	t := &tree{}
	if t.leaves, err = column(b, "leaf_value", leaves, parseFloat); err != nil {
		return nil, err
	}
	if leaves == 1 {
		t.root = -1
		return t, nil
	}
	return t, lightGBMNodes(b, t)
}

func lightGBMNodes(b block, t *tree) error {
	n := len(t.leaves) - 1
	features, err := column(b, "split_feature", n, parseInt)
	if err != nil {
		return err
	}
	thresholds, err := column(b, "threshold", n, parseFloat)
	if err != nil {
		return err
	}
	decisions, err := column(b, "decision_type", n, parseInt)
	if err != nil {
		return err
	}
	lefts, err := column(b, "left_child", n, parseInt)
	if err != nil {
		return err
	}
	rights, err := column(b, "right_child", n, parseInt)
	if err != nil {
		return err
	}
	t.splits = make([]split, n)
	for i := range t.splits {
		missing, err := lightGBMDecision(decisions[i])
		if err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		if features[i] < 0 || features[i] >= MaxFeatures {
			return fmt.Errorf("node %d asks for feature %d", i, features[i])
		}
		t.splits[i] = split{threshold: thresholds[i], left: lefts[i], right: rights[i], feature: uint16(features[i]), missing: missing}
	}
	return nil
}

func lightGBMDecision(d int32) (missing uint8, err error) {
	if d < 0 || d&^(lightGBMCategory|lightGBMDefaultLeft|lightGBMMissing) != 0 {
		return 0, fmt.Errorf("decision_type %d is unknown", d)
	}
	if d&lightGBMCategory != 0 {
		return 0, errors.New("splits on categories are not known. Train without categorical_feature, or encode it as numbers")
	}
	if d&lightGBMDefaultLeft != 0 {
		missing = defaultLeft
	}
	switch d & lightGBMMissing >> 2 {
	case 0:
	case 1:
		missing |= zeroMissing
	case 2:
		missing |= nanMissing
	default:
		return 0, fmt.Errorf("decision_type %d is unknown", d)
	}
	return missing, nil
}

// column reads the n values of a key.
func column[T any](b block, key string, n int, parse func(string) (T, error)) ([]T, error) {
	text := b[key]
	if len(text) < 2*n-1 { // before memory is taken for them
		return nil, fmt.Errorf("%s has less than %d values", key, n)
	}
	values := make([]T, 0, n)
	for word := range strings.FieldsSeq(text) {
		v, err := parse(word)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no number that fits", key, clip(word))
		}
		if len(values) == n {
			return nil, fmt.Errorf("%s has more than %d values", key, n)
		}
		values = append(values, v)
	}
	if len(values) != n {
		return nil, fmt.Errorf("%s has %d values, must have %d", key, len(values), n)
	}
	return values, nil
}

func parseFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

func parseInt(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int32(n), err
}
