#!/usr/bin/python3
"""Trains the models of the tests, and writes what the libraries themselves score for rows of values.

    apt-get install python3-xgboost python3-sklearn     # Debian 12: XGBoost 1.7.4, scikit-learn 1.2.1
    /usr/bin/python3 train.py                           # in this folder

Each model NAME.json comes with NAME.rows.json: rows of values (null = missing) and the scores (null = not finite). Rows hold values that are just at a threshold, beside it,
missing, negative, huge and tiny. Models named refused-* are those that the reader must not take.
"""
import json

import numpy as np
import xgboost as xgb
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAMES = ["restarts", "latency", "errors", "memory", "age"]


def data(seed, n=1500, holes=0.0):
    rng = np.random.default_rng(seed)
    x = np.column_stack([
        rng.poisson(1.5, n), rng.lognormal(3, 1, n), rng.beta(1, 9, n), rng.normal(0, 1e6, n), rng.exponential(3600, n),
    ]).astype(np.float64)
    risk = 0.8 * x[:, 0] + 0.03 * x[:, 1] + 6 * x[:, 2] + x[:, 3] / 1e6 - x[:, 4] / 7200 - 2
    label = (risk + rng.logistic(0, 1, n) > 0).astype(int)
    x[rng.random(x.shape) < holes] = np.nan
    return x, risk, label


def rows(x, thresholds, missing):
    """60 rows of the data, and 60 with values at the thresholds, next to them, or odd."""
    rng = np.random.default_rng(1)
    odd = [0.0, -0.0, 1e-38, -1e-38, 1e30, -1e30, 1e-35, 123456789.125, -1.0]
    near = []
    for t in thresholds:
        t32 = np.float32(t)
        near += [float(t), float(t32), float(np.nextafter(t32, np.float32(np.inf))), float(np.nextafter(t32, np.float32(-np.inf)))]
    more = x[60:120].copy()
    for row in more:
        for i in range(len(row)):
            if rng.random() < 0.6:
                row[i] = rng.choice(near + odd) if near else rng.choice(odd[:4] + odd[8:])
    all_rows = np.vstack([x[:60], more])
    if missing:
        all_rows[rng.random(all_rows.shape) < 0.1] = np.nan
        all_rows[0] = np.nan
    return all_rows


def write(name, x, want):
    text = [[None if np.isnan(v) else float(v) for v in row] for row in x]
    with open(name + ".rows.json", "w") as f:
        f.write("{\"rows\": [\n" + ",\n".join(json.dumps(r) for r in text) + "\n],\n\"scores\": " + json.dumps([float(w) if np.isfinite(w) else None for w in want]) + "}\n")


def dump(name, content):
    with open(name + ".json", "w") as f:
        json.dump(content, f)
        f.write("\n")


def xgboost(name, objective, target, named=True, trees=20, **parameters):
    x, risk, label = data(7, holes=0.15)
    y = {"label": label, "risk": risk, "count": np.maximum(0, np.round(risk + 3)), "positive": np.exp(risk / 4)}[target]
    names = NAMES if named else None
    booster = xgb.train({"objective": objective, "max_depth": 4, "eta": 0.3, "seed": 1, "nthread": 1, "tree_method": "exact", **parameters},
                        xgb.DMatrix(x, y, feature_names=names), trees)
    booster.save_model(name + ".json")
    with open(name + ".json") as f:
        model = json.load(f)
    thresholds = []
    for t in model["learner"]["gradient_booster"]["model"]["trees"]:
        thresholds += [c for c, left in zip(t["split_conditions"], t["left_children"]) if left >= 0]
    at = rows(x, np.random.default_rng(2).choice(thresholds, 40), True)
    write(name, at, booster.predict(xgb.DMatrix(at, feature_names=names)))


def refused():
    x, _, label = data(3, 200)
    classes = label + (x[:, 0] > 2)
    small = {"max_depth": 2, "seed": 1, "nthread": 1}
    xgb.train({**small, "objective": "multi:softprob", "num_class": 3}, xgb.DMatrix(x, classes), 2).save_model("refused-classes.json")
    xgb.train({**small, "objective": "binary:logistic", "booster": "dart"}, xgb.DMatrix(x, label), 2).save_model("refused-dart.json")
    xgb.train({**small, "objective": "binary:logistic", "booster": "gblinear"}, xgb.DMatrix(x, label), 2).save_model("refused-gblinear.json")
    xgb.train({**small, "objective": "binary:hinge"}, xgb.DMatrix(x, label), 2).save_model("refused-hinge.json")
    xgb.train({**small, "objective": "binary:logitraw"}, xgb.DMatrix(x, label), 2).save_model("refused-logitraw.json")
    category = xgb.DMatrix(np.column_stack([x[:, 0] % 5, x[:, 1]]), label, feature_types=["c", "q"], enable_categorical=True)
    xgb.train({**small, "objective": "binary:logistic", "tree_method": "hist"}, category, 4).save_model("refused-categories.json")


def linear(name, fit, target, link):
    x, risk, label = data(11)
    y = {"label": label, "risk": risk, "count": np.maximum(0, np.round(risk + 3))}[target]
    pipeline = make_pipeline(StandardScaler(), fit).fit(x, y)
    scaler, fit = pipeline[0], pipeline[1]
    dump(name, {
        "format": "millrace.dev/linear/v1", "features": NAMES, "center": scaler.mean_.tolist(), "scale": scaler.scale_.tolist(),
        "coefficients": np.ravel(fit.coef_).tolist(), "intercept": float(np.ravel(fit.intercept_)[0]), "link": link,
    })
    at = rows(x, [], False)
    write(name, at, pipeline.predict_proba(at)[:, 1] if link == "logistic" else pipeline.predict(at))


def isolation(name):
    x, _, _ = data(13)
    forest = IsolationForest(n_estimators=50, max_samples=64, max_features=0.8, random_state=1).fit(x)
    trees, thresholds = [], []
    for estimator, features in zip(forest.estimators_, forest.estimators_features_):
        t = estimator.tree_
        inner = t.children_left >= 0
        thresholds += t.threshold[inner].tolist()
        trees.append({
            "feature": [int(features[f]) if i else 0 for f, i in zip(t.feature, inner)],
            "threshold": [float(v) if i else 0.0 for v, i in zip(t.threshold, inner)],
            "left": t.children_left.tolist(), "right": t.children_right.tolist(), "samples": t.n_node_samples.tolist(),
        })
    dump(name, {"format": "millrace.dev/isolation-forest/v1", "features": NAMES, "maxSamples": int(forest.max_samples_), "trees": trees})
    at = rows(x, np.random.default_rng(2).choice(thresholds, 40), False)
    write(name, at, -forest.score_samples(at))


xgboost("xgboost-logistic", "binary:logistic", "label")
xgboost("xgboost-unbalanced", "binary:logistic", "label", base_score=0.12, trees=3)
xgboost("xgboost-unnamed", "reg:squarederror", "risk", named=False, base_score=3.5)
xgboost("xgboost-forest", "reg:squarederror", "risk", trees=3, num_parallel_tree=4, subsample=0.7, colsample_bynode=0.8)
xgboost("xgboost-poisson", "count:poisson", "count", trees=5)
xgboost("xgboost-gamma", "reg:gamma", "positive", trees=5, base_score=1.5)
xgboost("xgboost-tweedie", "reg:tweedie", "count", trees=5)
xgboost("xgboost-huber", "reg:pseudohubererror", "risk", trees=5)
xgboost("xgboost-rank", "rank:pairwise", "label", trees=2)
refused()
linear("linear", LinearRegression(), "risk", "identity")
linear("logistic", LogisticRegression(C=0.1), "label", "logistic")
linear("poisson", PoissonRegressor(alpha=0.1), "count", "exp")
isolation("isolation")
