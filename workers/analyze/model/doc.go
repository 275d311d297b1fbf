// Package model reads trained models and evaluates them: ensembles of trees of LightGBM and XGBoost, linear and logistic models, and
// isolation forests. It has no connection, no clock and no state.
//
// Read takes a model apart and checks it once. A Model is a few flat slices from then on: Score walks them without an allocation, and
// several goroutines may call it at once.
//
//	m, err := model.Read(model.LightGBM, data)
//	score, err := m.Score(x) // x has a value for each of m.Features(), in their order; NaN is a missing one
//
// # What is the same as in the library that trained the model
//
// The score is what the library's predict returns, to 1e-5 of it, and so is the way that a value goes which is missing:
//
//   - LightGBM (src/io/tree.cpp, include/LightGBM/tree.h): a node says what counts as missing: nothing (NaN is then 0), zero (everything
//     within 1e-35 of 0, and NaN), or NaN. What is missing goes in the default direction; all else goes left when it is <= the threshold.
//     Sums are double.
//   - XGBoost: NaN is missing and goes in the default direction; all else, rounded to float, goes left when it is < the threshold. Sums are float.
//   - scikit-learn's IsolationForest: values are rounded to float and go left when they are <= the threshold. None may be missing.
//
// # What is refused
//
// Everything that would make the score another one: objectives that Read does not know, several outputs, splits on categories, linear
// trees, gblinear, dart of XGBoost. The error says what it was. So does that of a model which is damaged or hostile: Read bounds the bytes, features, trees,
// nodes and depth, and checks that each tree is one, so that each walk ends.
package model
