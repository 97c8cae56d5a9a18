"""Trains with nirs4all in a workspace, as a user's script does: nothing in it speaks of our store.

`python nirs4all_training.py WORKSPACE ENGINE KIND...`: the engine is `default`, `legacy`, or `only` where there is one.
"""

import sys

import nirs4all
import numpy as np
from lightgbm import LGBMRegressor
from nirs4all.data import SpectroDataset
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 30)).cumsum(axis=1)
Y = X[:, 3] * 2 + X[:, 10] + RNG.normal(size=80) * 0.1
WORDS = np.array(["high" if value > 0 else "low" for value in Y])
THREE = np.digitize(Y, [-4.0, 4.0])
X_NEW = RNG.normal(size=(7, 30)).cumsum(axis=1)
N_TRAIN = 60
FOLDS = KFold(3)
TWO_WAYS = [[MinMaxScaler(), {"model": PLSRegression(4)}], [StandardScaler(), {"model": Ridge()}]]


def stack():
    """Return a pipeline with a model over models."""
    from nirs4all.operators.models import MetaModel

    return [MinMaxScaler(), FOLDS, {"model": PLSRegression(4)}, {"model": Ridge()}, {"model": MetaModel(model=Ridge())}]


KINDS = {
    "sweep": ([{"_or_": [StandardScaler(), MinMaxScaler()]}, FOLDS, {"model": PLSRegression(4)}], Y),
    "y": ([MinMaxScaler(), {"y_processing": StandardScaler()}, FOLDS, {"model": PLSRegression(4)}], Y),
    "two": ([MinMaxScaler(), FOLDS, {"model": PLSRegression(4)}, {"model": Ridge()}], Y),
    "classes": ([StandardScaler(), StratifiedKFold(3), {"model": RandomForestClassifier(10, random_state=0)}], THREE),
    "words": ([StandardScaler(), StratifiedKFold(3), {"model": LogisticRegression()}], WORDS),
    "branches": ([FOLDS, {"branch": TWO_WAYS}], Y),
    "merge": (
        [FOLDS, {"branch": [[MinMaxScaler()], [StandardScaler()]]}, {"merge": "features"}, {"model": PLSRegression(4)}],
        Y,
    ),
    "augmentation": (
        [{"feature_augmentation": [MinMaxScaler(), RobustScaler()], "action": "extend"}, FOLDS, {"model": Ridge()}],
        Y,
    ),
    "selection": ([StandardScaler(), SelectKBest(f_regression, k=10), FOLDS, {"model": PLSRegression(4)}], Y),
    "boosted": ([StandardScaler(), FOLDS, {"model": LGBMRegressor(n_estimators=10, verbose=-1, n_jobs=1)}], Y),
    "sources": ([MinMaxScaler(), FOLDS, {"model": PLSRegression(4)}], Y),
    "scans": ([MinMaxScaler(), FOLDS, {"model": PLSRegression(4)}], Y),
    "no-folds": ([MinMaxScaler(), {"model": PLSRegression(4)}], Y),
    "stack": (stack(), Y),
}


def dataset(kind, target):
    """Return a dataset with a part to train on and one to test with."""
    made = SpectroDataset(name=kind)
    for rows, partition in ((slice(None, N_TRAIN), "train"), (slice(N_TRAIN, None), "test")):
        parts = [X[rows, :15], X[rows, 15:]] if kind == "sources" else X[rows]
        made.add_samples(parts, {"partition": partition})
        made.add_targets(target[rows])
    if kind == "scans":
        made.add_metadata(np.repeat(np.arange(40), 2)[:, None].astype(str), headers=["sample"])
        made.set_repetition("sample")
    return made


def train(workspace, kind, engine):
    """Train one of the kinds; return what `nirs4all.run` returns."""
    pipeline, target = KINDS[kind]
    options = {"engine": "legacy"} if engine == "legacy" else {}
    return nirs4all.run(
        pipeline,
        dataset(kind, target),
        name=kind,
        verbose=0,
        workspace_path=workspace,
        save_charts=False,
        **options,
    )


if __name__ == "__main__":
    for kind in sys.argv[3:]:
        train(sys.argv[1], kind, sys.argv[2])
