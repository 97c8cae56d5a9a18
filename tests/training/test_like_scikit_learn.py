"""The runner's numbers are those of scikit-learn's `cross_val_predict`, `cross_validate` and `Pipeline`."""

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from programs import run_script
from samples import all_but_few, slow
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import (
    FixedThresholdClassifier,
    KFold,
    PredefinedSplit,
    RepeatedKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, LinearSVC

from nirs4all_store import PipelineRunner, WorkspaceStore, load_bundle

X, Y = make_classification(90, 8, n_informative=4, n_classes=3, flip_y=0.3, random_state=0)
TWO = np.where(Y == 1, "yes", "no")
CV = StratifiedKFold(4, shuffle=True, random_state=0)


def arrays(store: WorkspaceStore, found: pl.DataFrame, fold: str = "avg", partition: str = "val") -> Any:
    """Return one prediction of a run with its arrays."""
    row = found.filter(pl.col("fold_id") == fold, pl.col("partition") == partition)
    return store.get_prediction(row["prediction_id"][0], load_arrays=True)


class CostSensitive(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A classifier that says yes where no is a little likelier, as one for whom a missed case costs more does."""

    def fit(self, X: Any, y: Any) -> "CostSensitive":
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> Any:
        return self.model_.predict_proba(X)

    def predict(self, X: Any) -> Any:
        return self.classes_[(self.predict_proba(X)[:, 1] > 0.2).astype(int)]


OWN_RULES = {
    "modified Huber": (lambda: SGDClassifier(loss="modified_huber", random_state=0), Y),
    "one against the rest": (lambda: OneVsRestClassifier(SVC(probability=True, random_state=0, C=0.1)), Y),
    "a support vector machine": (lambda: SVC(probability=True, random_state=0, C=0.05), TWO),
    "costs": (CostSensitive, TWO),
    "a threshold": (lambda: FixedThresholdClassifier(LogisticRegression(), threshold=0.2), TWO),
    "a stack": (lambda: StackingClassifier([("a", GaussianNB())], CostSensitive(), cv=2), TWO),
}


@pytest.mark.filterwarnings("ignore:.*probability.*:FutureWarning")
@pytest.mark.parametrize("name", all_but_few(OWN_RULES, ("modified Huber", "costs")))
def test_labels_once_were_the_likeliest_class_whatever_predict_says(
    store: WorkspaceStore, tmp_path: Path, name: str
) -> None:
    make, y = OWN_RULES[name]
    found = PipelineRunner(store).run([CV, {"model": make()}], {"X": X, "y": y, "X_test": X})
    expected = cross_val_predict(make(), X, y, cv=CV)
    np.testing.assert_array_equal(arrays(store, found)["y_pred"], expected)
    assert found["val_score"][0] == pytest.approx(metrics.balanced_accuracy_score(y, expected))
    chain_id = found["chain_id"][0]
    models = [make().fit(X[rows], y[rows]) for rows, _ in CV.split(X, y)]
    labels = np.stack([model.predict(X) for model in models])
    classes = np.unique(y)
    voted = classes[(labels[:, :, None] == classes).sum(axis=0).argmax(axis=1)]
    np.testing.assert_array_equal(store.replay_chain(chain_id, X, folds="mean"), voted)
    np.testing.assert_array_equal(arrays(store, found, partition="test")["y_pred"], voted)
    np.testing.assert_array_equal(store.load_chain(chain_id, "mean").predict(X), voted)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X), make().fit(X, y).predict(X))


def test_a_vote_once_was_the_likeliest_class_in_exported_files(store: WorkspaceStore, tmp_path: Path) -> None:
    model = SGDClassifier(loss="modified_huber", random_state=0)
    chain_id = PipelineRunner(store).run([CV, model], (X, Y), refit=False)["chain_id"][0]
    expected = store.replay_chain(chain_id, X)
    assert (store.load_chain(chain_id).predict_proba(X).argmax(axis=1) != expected).any()
    bundle = store.export_chain(chain_id, tmp_path / "model.n4a")
    np.testing.assert_array_equal(load_bundle(bundle, trusted=True).predict(X), expected)
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["format_version"] == 2  # A reader of the first version would not let them vote.
    np.savetxt(tmp_path / "X.csv", X, delimiter=",")
    done = run_script(store.export_chain(chain_id, tmp_path / "model.n4a.py", format="n4a.py"), tmp_path / "X.csv")
    assert done.stdout.split() == expected.astype(str).tolist()


def test_folds_whose_models_choose_the_likeliest_class_are_combined_by_their_mean_probability(
    store: WorkspaceStore,
) -> None:
    chain_id = PipelineRunner(store).run([CV, GaussianNB()], (X, Y))["chain_id"][0]
    models = [GaussianNB().fit(X[rows], Y[rows]) for rows, _ in CV.split(X, Y)]
    mean = np.mean([model.predict_proba(X) for model in models], axis=0)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X, folds="mean"), mean.argmax(axis=1))


def test_what_several_folds_held_out_is_combined_as_the_chain_combines_them(store: WorkspaceStore) -> None:
    repeated = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
    found = PipelineRunner(store).run([repeated, GaussianNB()], (X, Y))
    total = np.zeros((len(X), 3))
    for rows, held_out in repeated.split(X):
        total[held_out] += GaussianNB().fit(X[rows], Y[rows]).predict_proba(X[held_out])
    np.testing.assert_array_equal(arrays(store, found)["y_pred"], total.argmax(axis=1))


def test_probabilities_once_had_no_column_for_a_class_that_a_fold_lacks(store: WorkspaceStore) -> None:
    y = np.sort(TWO.astype("U9"))
    y[:8] = "maybe"
    cv = KFold(3)  # The first fold does not see the class.
    found = PipelineRunner(store).run([cv, GaussianNB()], {"X": X, "y": y, "X_test": X[:5]})
    with pytest.warns(RuntimeWarning, match="Number of classes in training fold"):
        expected = cross_val_predict(GaussianNB(), X, y, cv=cv, method="predict_proba")
    average = arrays(store, found)
    np.testing.assert_allclose(average["y_proba"], expected)
    assert average["classes"] == ["maybe", "no", "yes"]
    scores = average["scores"]["val"]
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(y, expected))
    assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, expected, multi_class="ovr"))
    for fold, partition in found.select("fold_id", "partition").iter_rows():
        one = arrays(store, found, fold, partition)
        assert one["y_proba"].shape == (len(one["y_pred"]), 3)
        assert one["classes"] == ["maybe", "no", "yes"]
    assert not arrays(store, found, "0", "test")["y_proba"][:, 0].any()


@pytest.mark.parametrize(
    ("model", "y"),
    [(GaussianNB(), Y), (LinearSVC(), TWO)]
    + [slow(model, y) for model in (RidgeClassifier(), SVC(C=2)) for y in (Y, TWO)]
    + [slow(GaussianNB(), TWO), slow(LinearSVC(), Y)],
)
def test_scores_of_each_fold_are_those_of_cross_validate(store: WorkspaceStore, model: Any, y: Any) -> None:
    names = ["balanced_accuracy", "accuracy", "f1_macro"]
    has_proba = hasattr(model, "predict_proba")
    names += ["neg_log_loss"] if has_proba else []
    names += ["roc_auc"] if y is TWO else ["roc_auc_ovr"] if has_proba else []
    expected = cross_validate(model, X, y, cv=CV, scoring=names)
    found = PipelineRunner(store).run([CV, model], (X, y))
    for fold in range(4):
        scores = arrays(store, found, str(fold))["scores"]["val"]
        for name in names:
            own = name.removeprefix("neg_").removesuffix("_macro").removesuffix("_ovr")
            sign = -1 if name.startswith("neg") else 1
            assert scores[own] == pytest.approx(sign * expected[f"test_{name}"][fold]), name


def test_a_classifier_with_a_decision_function_alone_once_had_no_roc_auc(store: WorkspaceStore) -> None:
    for model in (LinearSVC(), SVC(decision_function_shape="ovo")):
        found = PipelineRunner(store).run([CV, model], (X, TWO))
        values = cross_val_predict(model, X, TWO, cv=CV, method="decision_function")
        assert arrays(store, found)["scores"]["val"]["roc_auc"] == pytest.approx(metrics.roc_auc_score(TWO, values))
    pairs = PipelineRunner(store).run([CV, SVC(decision_function_shape="ovo")], (X, Y))
    assert "roc_auc" not in arrays(store, pairs)["scores"]["val"]


def test_a_classifier_without_probabilities_once_failed_where_a_fold_lacks_a_class(store: WorkspaceStore) -> None:
    lacking = PredefinedSplit(np.where((Y == 2) | (np.arange(90) % 2 == 0), 0, 1))  # The first fold has all of class 2.
    found = arrays(store, PipelineRunner(store).run([lacking, LinearSVC()], (X, Y)))
    np.testing.assert_array_equal(found["y_pred"], cross_val_predict(LinearSVC(), X, Y, cv=lacking))
    assert "roc_auc" not in found["scores"]["val"]


def test_labels_with_a_NUL_inside_once_could_not_be_scored(store: WorkspaceStore) -> None:
    y = np.array(["a\0b", "a"])[(Y == 1).astype(int)]
    found = arrays(store, PipelineRunner(store).run([CV, GaussianNB()], (X, y)))
    np.testing.assert_array_equal(found["y_pred"], cross_val_predict(GaussianNB(), X, y, cv=CV))


LABELS = ["rye, dry", 'wheat "A"\nx']


def test_an_exported_script_once_printed_labels_that_no_csv_reader_can_part(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    y = np.array(LABELS * 6, dtype=object)
    spectra = np.c_[np.arange(12.0) % 2, np.arange(12.0)]
    chain_id = PipelineRunner(store).run([KFold(3), GaussianNB()], (spectra, y))["chain_id"][0]
    np.savetxt(tmp_path / "X.csv", spectra, delimiter=",")
    done = run_script(store.export_chain(chain_id, tmp_path / "model.n4a.py", format="n4a.py"), tmp_path / "X.csv")
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows == [[label] for label in store.replay_chain(chain_id, spectra)]
    assert {row[0] for row in rows} == set(LABELS)
