"""Labels that differ by a NUL at their end, which NumPy's own texts lose, stay apart wherever they go."""

from pathlib import Path

import numpy as np
import pytest
from samples import slow
from sklearn import metrics
from sklearn.datasets import make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import LabelEncoder
from sklearn.svm import SVC

from nirs4all_store import PipelineRunner, WorkspaceStore, load_bundle
from nirs4all_store.datasets import read_dataset
from nirs4all_store.errors import TrainingFailedError

X, NUMBERS = make_classification(60, 6, n_informative=4, n_classes=3, flip_y=0.2, random_state=0)
Y = np.array(["a", "a\0", "b"], dtype=object)[NUMBERS]
CV = StratifiedKFold(3, shuffle=True, random_state=0)


@pytest.mark.parametrize("model", [slow(LogisticRegression()), KNeighborsClassifier(), slow(SVC())])
def test_two_classes_once_were_refused_for_the_NUL_at_their_end(store: WorkspaceStore, model: object) -> None:
    found = PipelineRunner(store).run([CV, model], (X, Y), refit=False)
    stored = store.get_prediction(found["prediction_id"][0], load_arrays=True) or {}
    own = cross_val_predict(model, X, Y, cv=CV)
    assert stored["y_true"].tolist() == Y.tolist()
    assert stored["y_pred"].tolist() == own.tolist()
    # The scores of scikit-learn make NumPy's texts of labels; of numbers in their order they do not.
    codes, own = (LabelEncoder().fit(Y).transform(labels) for labels in (Y, own))
    scores = stored["scores"]["val"]
    assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(codes, own))
    assert scores["mcc"] == pytest.approx(metrics.matthews_corrcoef(codes, own))
    if hasattr(model, "predict_proba"):
        proba = cross_val_predict(model, X, Y, cv=CV, method="predict_proba")
        assert scores["log_loss"] == pytest.approx(metrics.log_loss(codes, proba))
        assert stored["classes"] == ["a", "a\0", "b"]


def test_labels_that_end_in_NUL_are_replayed_exported_and_read_again(store: WorkspaceStore, tmp_path: Path) -> None:
    data = {"X": X[:45], "y": Y[:45], "X_test": X[45:], "y_test": Y[45:], "name": "wheat"}
    found = PipelineRunner(store).run([CV, KNeighborsClassifier()], data)
    chain_id, own = found["chain_id"][0], KNeighborsClassifier().fit(X[:45], Y[:45]).predict(X)
    assert store.replay_chain(chain_id, X).tolist() == own.tolist()
    assert set(own) == {"a", "a\0", "b"}
    samples = store.load_dataset(store.list_datasets()["dataset_id"][0])
    assert samples["y"].to_list() == Y.tolist()
    predicted = store.chain_samples(chain_id, partition="test").filter(fold_id="final")
    assert predicted["y_pred"].to_list() == own[45:].tolist()
    bundle = load_bundle(store.export_chain(chain_id, tmp_path / "chain.n4a"), trusted=True)
    assert bundle.predict(X).tolist() == own.tolist()


def test_the_hash_of_labels_that_end_in_NUL_is_that_of_their_texts() -> None:
    labels = [[*"ab", "c\0"] * 20, [*"ab", "".join(["c", "\0"])] * 20, ["a", "b", "c\0\0"] * 20]
    first, again, other = (read_dataset((X, own)).content_hash for own in labels)
    assert first == again != other


def test_groups_that_differ_by_a_NUL_at_their_end_stay_apart(store: WorkspaceStore) -> None:
    groups = np.array(["a", "a\0", "b"] * 20, dtype=object)
    y = X[:, 0] + np.arange(60)
    found = PipelineRunner(store).run([GroupKFold(3), Ridge()], (X, y, groups), refit=False)
    stored = store.get_prediction(found["prediction_id"][0], load_arrays=True) or {}
    codes = np.arange(60) % 3
    np.testing.assert_allclose(
        stored["y_pred"], cross_val_predict(Ridge(), X, y, cv=GroupKFold(3), groups=codes), rtol=1e-12
    )


def test_names_of_samples_that_differ_by_a_NUL_at_their_end_once_were_one() -> None:
    names = ["a", "a\0", "b"] * 20
    data = read_dataset({"X": X, "y": X[:, 0], "sample": names, "groups": names})
    assert np.asarray(data.sample_names).tolist() == names


def test_a_model_that_loses_the_NUL_itself_says_so(store: WorkspaceStore) -> None:
    with pytest.raises(TrainingFailedError, match=r"loses the NUL character at the end of the label 'a\\x00'"):
        PipelineRunner(store).run([CV, LinearDiscriminantAnalysis()], (X, Y), refit=False)
