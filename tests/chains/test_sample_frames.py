"""The predictions of a chain by sample: what its columns are called, and what stands in them."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from nirs4all_store import NotFoundError, PipelineRunner, WorkspaceStore
from nirs4all_store.chains import sample_frame

GENERATOR = np.random.default_rng(0)
SPECTRA = GENERATOR.normal(size=(30, 12)).cumsum(axis=1)
PROTEIN = SPECTRA[:, 3] - SPECTRA[:, 7] + GENERATOR.normal(scale=0.3, size=30)
GRADE = np.where(np.median(PROTEIN) < PROTEIN, "high", "low")
TABLE = pl.DataFrame(SPECTRA, schema=[str(1100 + 2 * number) for number in range(12)]).with_columns(
    protein=pl.Series(PROTEIN), moisture=pl.Series(PROTEIN**2), grade=pl.Series(GRADE)
)


def samples(store: WorkspaceStore, config: list[Any], target: Any, **parts: Any) -> pl.DataFrame:
    found = PipelineRunner(store).run([KFold(3), *config], {"X": TABLE, **parts}, target=target)
    return store.chain_samples(found["chain_id"][0])


def test_predictions_are_read_by_sample_under_the_targets_name(store: WorkspaceStore) -> None:
    frame = samples(store, [Ridge()], "protein")
    assert frame.columns == ["row", "fold_id", "repeat", "partition", "protein", "protein_predicted"]
    held_out = frame.filter(fold_id="avg", partition="val").sort("row")
    assert held_out["row"].to_list() == list(range(30))
    np.testing.assert_array_equal(held_out["protein"], PROTEIN)
    expected = cross_val_predict(Ridge(), SPECTRA, PROTEIN, cv=KFold(3))
    np.testing.assert_allclose(held_out["protein_predicted"], expected, rtol=1e-9)
    assert {*frame["partition"]} == {"train", "val"}


def test_one_partition_is_asked_for(store: WorkspaceStore) -> None:
    chain_id = PipelineRunner(store).run([KFold(3), Ridge()], TABLE, target="protein")["chain_id"][0]
    whole, part = store.chain_samples(chain_id), store.chain_samples(chain_id, partition="val")
    assert part.equals(whole.filter(partition="val"))
    assert store.chain_samples(chain_id, "test").height == 0
    with pytest.raises(NotFoundError, match="there is no chain 'x'"):
        store.chain_samples("x")


def test_classes_keep_their_words_in_predictions_and_in_the_names_of_probabilities(store: WorkspaceStore) -> None:
    frame = samples(store, [LogisticRegression(C=0.01)], "grade")
    named = ["grade_probability_high", "grade_probability_low"]
    assert frame.columns[4:] == ["grade", "grade_predicted", *named]
    held_out = frame.filter(fold_id="avg", partition="val").sort("row")
    assert held_out["grade"].to_list() == GRADE.tolist()
    expected = cross_val_predict(LogisticRegression(C=0.01), SPECTRA, GRADE, cv=KFold(3), method="predict_proba")
    np.testing.assert_allclose(held_out.select(named), expected, rtol=1e-6)
    assert held_out["grade_predicted"].to_list() == [["high", "low"][place] for place in expected.argmax(axis=1)]


def test_several_targets_have_columns_each(store: WorkspaceStore) -> None:
    frame = samples(store, [Ridge()], ["protein", "moisture"])
    assert frame.columns[4:] == ["protein", "moisture", "protein_predicted", "moisture_predicted"]
    kinds = TABLE.with_columns(kind=pl.Series(np.where(np.arange(30) % 2, "a", "b")))
    found = PipelineRunner(store).run([KFold(3), KNeighborsClassifier(3)], kinds, target=["grade", "kind"])
    words = store.chain_samples(found["chain_id"][0])
    probabilities = [
        f"{name}_probability_{label}"
        for name, label in (("grade", "high"), ("grade", "low"), ("kind", "a"), ("kind", "b"))
    ]
    assert words.columns[4:] == ["grade", "kind", "grade_predicted", "kind_predicted", *probabilities]
    np.testing.assert_allclose(words.select(probabilities[:2]).sum_horizontal(), 1)


def test_weights_stand_beside_the_samples_that_have_them(store: WorkspaceStore) -> None:
    weights = np.linspace(1, 2, 30)
    frame = samples(store, [Ridge()], "protein", weights=weights)
    np.testing.assert_array_equal(frame["weight"], weights[frame["row"]])


def test_predictions_that_somebody_else_saved_have_what_they_have(store: WorkspaceStore) -> None:
    arrays = {"y_true": None, "y_pred": np.array([1.0, 2.0]), "y_proba": None, "sample_indices": None, "classes": None}
    arrays |= {"weights": np.array([0.5, 0.25, 0.25]), "fold_id": "0", "repeat": None, "partition": "test"}
    frame = sample_frame([arrays], None)
    assert frame.to_dicts() == [
        {"row": None, "fold_id": "0", "repeat": None, "partition": "test", "y_pred": value} for value in (1.0, 2.0)
    ]
    labels = arrays | {"y_pred": np.ones((2, 2)), "y_proba": np.array([[0.2, 0.9], [0.1, 0.7]])}
    assert sample_frame([labels], ["ripe", "sound"]).columns[-2:] == ["ripe_probability", "sound_probability"]
    numbers = arrays | {"y_proba": np.array([[0.2, 0.8], [0.1, 0.9]])}
    assert sample_frame([numbers], None).columns[-2:] == ["probability_0", "probability_1"]
    nothing = dict.fromkeys(arrays) | {"fold_id": "0", "partition": "val"}
    assert sample_frame([nothing], None).height == 0
