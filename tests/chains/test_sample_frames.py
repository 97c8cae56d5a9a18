"""The predictions of a chain by sample: what its columns are called, and what stands in them."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, root_mean_squared_error
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from nirs4all_store import InvalidInputError, NotFoundError, PipelineRunner, WorkspaceStore
from nirs4all_store.chains import check_average, sample_frame, score_frame
from nirs4all_store.metrics import are_classes

GENERATOR = np.random.default_rng(0)
SPECTRA = GENERATOR.normal(size=(30, 12)).cumsum(axis=1)
PROTEIN = SPECTRA[:, 3] - SPECTRA[:, 7] + GENERATOR.normal(scale=0.3, size=30)
GRADE = np.where(np.median(PROTEIN) < PROTEIN, "high", "low")
TABLE = pl.DataFrame(SPECTRA, schema=[str(1100 + 2 * number) for number in range(12)])
Y = {"protein": PROTEIN, "moisture": PROTEIN**2, "grade": GRADE, "kind": np.where(np.arange(30) % 2, "a", "b")}
NAMES = [f"s{number // 3}" for number in range(30)]


def test_classes_of_nirs4all_once_were_taken_for_numbers() -> None:
    assert are_classes([{"task_type": "binary_classification"}])
    assert not are_classes([{"task_type": "regression"}, {"task_type": None}])
    assert are_classes([{"task_type": None, "y_true": np.array(["a", "b"]), "y_pred": None}])
    assert not are_classes([{"task_type": None, "y_true": np.array([1.0, 2.0]), "y_pred": None}])


def trained(store: WorkspaceStore, config: list[Any], target: Any, **parts: Any) -> str:
    """Return a chain that was trained on spectra with a column for each target."""
    named = [target] if isinstance(target, str) else target
    data = {"X": TABLE.with_columns(**{name: pl.Series(Y[name]) for name in named}), **parts}
    return str(PipelineRunner(store).run([KFold(3), *config], data, target=target)["chain_id"][0])


def samples(store: WorkspaceStore, config: list[Any], target: Any, **parts: Any) -> pl.DataFrame:
    return store.chain_samples(trained(store, config, target, **parts))


def trained_on_scans(store: WorkspaceStore, model: Any, target: str, **parts: Any) -> str:
    """Return a chain that was trained on three scans of each of ten samples."""
    table = TABLE.with_columns(
        pl.Series(target, Y[target]), id=pl.Series(NAMES), repeat=pl.int_range(30).cast(pl.String) + " of 30"
    )
    data = {"X": table, "sample": "id", "groups": "id", **parts}
    return str(PipelineRunner(store).run([GroupKFold(3), model], data, target=target)["chain_id"][0])


def test_predictions_are_read_by_sample_under_the_targets_name(store: WorkspaceStore) -> None:
    frame = samples(store, [Ridge()], "protein")
    assert frame.columns == ["row", "fold_id", "repeat", "partition", "protein", "protein_predicted"]
    held_out = frame.filter(fold_id="avg", partition="val").sort("row")
    assert held_out["row"].to_list() == list(range(30))
    np.testing.assert_array_equal(held_out["protein"], PROTEIN)
    expected = cross_val_predict(Ridge(), SPECTRA, PROTEIN, cv=KFold(3))
    np.testing.assert_allclose(held_out["protein_predicted"], expected, rtol=1e-9)
    assert {*frame["partition"]} == {"train", "val"}


def test_metadata_called_weight_y_or_is_test_were_lost_or_an_error(store: WorkspaceStore) -> None:
    more = {name: pl.Series([f"{name} {row}" for row in range(30)]) for name in ("weight", "y", "is_test")}
    table = TABLE.with_columns(protein=pl.Series(PROTEIN), **more)
    found = PipelineRunner(store).run([KFold(3), Ridge()], table, target="protein", refit=False)
    frame = store.chain_samples(found["chain_id"][0], "val").filter(fold_id="avg").sort("row")
    assert frame.select(*more).equals(pl.DataFrame(more))


def test_one_partition_is_asked_for(store: WorkspaceStore) -> None:
    chain_id = trained(store, [Ridge()], "protein")
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
    words = samples(store, [KNeighborsClassifier(3)], ["grade", "kind"])
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


def test_what_is_known_of_each_sample_stands_beside_its_predictions(store: WorkspaceStore) -> None:
    test = TABLE[5:7].with_columns(id=pl.Series(["t", "u"]))
    frame = store.chain_samples(trained_on_scans(store, Ridge(), "protein", test=test))
    assert frame.columns == [
        *("row", "sample", "group", "repeat_1", "fold_id", "repeat", "partition", "protein", "protein_predicted")
    ]
    held_out = frame.filter(partition="val", fold_id="avg").sort("row")
    assert held_out["sample"].to_list() == NAMES
    assert held_out["repeat_1"].to_list()[:2] == ["0 of 30", "1 of 30"]
    assert set(frame.filter(partition="test")["sample"]) == {"t", "u"}, "rows of test data are others"


def test_scans_of_a_sample_once_were_counted_as_samples(store: WorkspaceStore) -> None:
    chain_id = trained_on_scans(store, Ridge(), "protein")
    frame = store.chain_samples(chain_id, "val", average="sample").filter(fold_id="avg").sort("row")
    means = frame["protein_predicted"].to_numpy().reshape(10, 3).mean(axis=1)
    np.testing.assert_allclose(frame["protein_predicted_by_sample"], means.repeat(3), rtol=1e-12)
    assert set(frame["n_scans"]) == {3}
    scores = store.chain_scores(chain_id, "val", average="sample")
    of_all = scores.filter(fold_id="avg").rows_by_key("by", named=True, unique=True)
    assert (of_all["scan"]["n"], of_all["sample"]["n"]) == (30, 10)
    assert of_all["scan"]["rmse"] == pytest.approx(root_mean_squared_error(PROTEIN, frame["protein_predicted"]))
    expected = root_mean_squared_error(PROTEIN.reshape(10, 3).mean(axis=1), means)
    assert of_all["sample"]["rmse"] == pytest.approx(expected)
    assert store.chain_scores(chain_id, "val").equals(scores.filter(by="scan"))
    with pytest.raises(InvalidInputError, match="no column 'id' that says which scans are of one sample"):
        store.chain_samples(chain_id, average="id")


def test_a_column_that_serves_as_groups_was_said_not_to_be_there() -> None:
    with pytest.raises(
        InvalidInputError, match=r"no column 'lot' .* by one of .*'group'; 'group' has what was given as"
    ):
        check_average(pl.DataFrame({"sample": ["a"], "group": ["b"]}), "lot")


def test_a_scan_that_misses_the_target_once_took_its_sample_out_of_the_scores() -> None:
    row = {
        "fold_id": "0",
        "repeat": None,
        "partition": "val",
        "task_type": "regression",
        "sample_indices": np.arange(4),
    }
    row |= {
        "y_true": np.array([[1.0, 5], [np.nan, 5], [3, 6], [3, 6]]),
        "y_pred": np.array([[2.0, 5], [4, 5], [3, 6], [5, 6]]),
    }
    names = pl.DataFrame({"row": range(4), "partition": "train", "sample": ["a", "a", "b", "b"]})
    scores = score_frame([row | dict.fromkeys(("y_proba", "classes", "weights"))], ["fat", "salt"], names, "sample")
    of_fat = scores.filter(target="fat").rows_by_key("by", named=True, unique=True)
    assert (of_fat["scan"]["n"], of_fat["sample"]["n"]) == (3, 2)
    assert of_fat["sample"]["rmse"] == pytest.approx(np.sqrt((2**2 + 1**2) / 2)), "the second scan of a counts"


def test_classes_of_scans_vote_and_their_probabilities_are_averaged(store: WorkspaceStore) -> None:
    chain_id = trained_on_scans(store, LogisticRegression(), "grade")
    frame = store.chain_samples(chain_id, "val", average="sample").filter(fold_id="avg")
    for scans in frame.partition_by("sample"):
        votes = scans["grade_predicted"].to_list()
        assert set(scans["grade_predicted_by_sample"]) == {max(votes, key=votes.count)}
        share = scans["grade_probability_low"].mean()
        assert scans["grade_probability_low_by_sample"].to_list() == pytest.approx([share] * 3)
    once = frame.group_by("sample").agg(pl.col("grade").mode().min(), pl.col("grade_predicted_by_sample").first())
    expected = balanced_accuracy_score(once["grade"], once["grade_predicted_by_sample"])
    by_sample = store.chain_scores(chain_id, "val", average="sample").filter(fold_id="avg", by="sample")
    assert by_sample["balanced_accuracy"].to_list() == [pytest.approx(expected)]
