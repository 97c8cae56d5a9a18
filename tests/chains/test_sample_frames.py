"""The predictions of a chain by sample: what its columns are called, and what stands in them."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, root_mean_squared_error
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from nirs4all_store import InvalidInputError, NotFoundError, PipelineRunner, WorkspaceStore
from nirs4all_store.chains import sample_frame, score_frame

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
    arrays |= {"weights": np.array([0.5, 0.25, 0.25])}
    arrays |= {"fold_id": "0", "repeat": None, "partition": "test", "task_type": "regression"}
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


SAMPLES = pl.DataFrame(
    {
        "row": [*range(30), 0, 1],
        "partition": ["train"] * 30 + ["test"] * 2,
        "sample": [f"s{number // 3}" for number in range(30)] + ["t", "t"],
        "repeat": ["a note"] * 32,
        "protein": [*PROTEIN, 1.0, 2.0],
    }
)


def test_what_is_known_of_each_sample_stands_beside_its_predictions(store: WorkspaceStore) -> None:
    data = {"X": TABLE, "X_test": TABLE[5:7]}
    chain_id = PipelineRunner(store).run([KFold(3), Ridge()], data, target="protein")["chain_id"][0]
    predictions, names, _ = store._predictions_of(chain_id, None)
    plain = store.chain_samples(chain_id)
    frame = sample_frame(predictions, names, SAMPLES)
    assert frame.columns == [
        "row", "sample", "repeat_1", "fold_id", "repeat", "partition", "protein", "protein_predicted"
    ]  # fmt: skip
    assert frame.select(plain.columns).equals(plain), "in the same order"
    assert frame.filter(partition="test")["sample"].unique().to_list() == ["t"], "rows of test data are others"
    assert (
        frame.filter(partition="val", fold_id="avg").sort("row")["sample"].to_list() == SAMPLES["sample"][:30].to_list()
    )


def test_scans_of_a_sample_once_were_counted_as_samples(store: WorkspaceStore) -> None:
    chain_id = PipelineRunner(store).run([KFold(3), Ridge()], TABLE, target="protein")["chain_id"][0]
    given = (*store._predictions_of(chain_id, "val")[:2], SAMPLES, "sample")
    frame = sample_frame(*given).filter(fold_id="avg").sort("row")
    means = frame["protein_predicted"].to_numpy().reshape(10, 3).mean(axis=1)
    np.testing.assert_allclose(frame["protein_predicted_by_sample"], means.repeat(3), rtol=1e-12)
    assert set(frame["n_scans"]) == {3}
    scores = score_frame(*given).filter(fold_id="avg").rows_by_key("by", named=True, unique=True)
    assert (scores["scan"]["n"], scores["sample"]["n"]) == (30, 10)
    assert scores["scan"]["rmse"] == pytest.approx(root_mean_squared_error(PROTEIN, frame["protein_predicted"]))
    expected = root_mean_squared_error(PROTEIN.reshape(10, 3).mean(axis=1), means)
    assert scores["sample"]["rmse"] == pytest.approx(expected)
    assert store.chain_scores(chain_id, "val").equals(score_frame(*given).filter(by="scan"))
    with pytest.raises(InvalidInputError, match="no column 'id'"):
        store.chain_samples(chain_id, average="id")


def test_classes_of_scans_vote_and_their_probabilities_are_averaged(store: WorkspaceStore) -> None:
    chain_id = PipelineRunner(store).run([KFold(3), LogisticRegression()], TABLE, target="grade")["chain_id"][0]
    predictions, names, _ = store._predictions_of(chain_id, "val")
    frame = sample_frame(predictions, names, SAMPLES.drop("protein"), "sample").filter(fold_id="avg")
    for scans in frame.partition_by("sample"):
        votes = scans["grade_predicted"].to_list()
        assert set(scans["grade_predicted_by_sample"]) == {max(votes, key=votes.count)}
        share = scans["grade_probability_low"].mean()
        assert scans["grade_probability_low_by_sample"].to_list() == pytest.approx([share] * 3)
    by_sample = score_frame(predictions, names, SAMPLES.drop("protein"), "sample").filter(fold_id="avg", by="sample")
    once = frame.unique("sample")
    truth = frame.group_by("sample").agg(pl.col("grade").mode().min().alias("truth"))
    both = once.join(truth, on="sample")
    expected = balanced_accuracy_score(both["truth"], both["grade_predicted_by_sample"])
    assert by_sample["balanced_accuracy"].to_list() == [pytest.approx(expected)]
