"""Tables of predictions: what stands beside them, how they are called, and how good they are."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from samples import slow
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef, r2_score, root_mean_squared_error
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from nirs4all_store import InvalidInputError, PipelineRunner, PredictionTable, WorkspaceStore, load_bundle
from nirs4all_store.testing.contract import add_pipeline
from nirs4all_store.views import lines_of_scores

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(40, 12)).cumsum(axis=1)
PROTEIN = 12 + X[:, 3] - X[:, 7] + GENERATOR.normal(scale=0.3, size=40)
WAVELENGTHS = [str(1100 + 2 * number) for number in range(12)]
SPECTRA = pl.DataFrame(X, schema=WAVELENGTHS)
CONFIG = [KFold(3), Ridge()]
FLAGS = ["t2", "q", "outside_envelope", "outside_x", "outside_y"]


def described(frame: pl.DataFrame) -> pl.DataFrame:
    """Return spectra with names, metadata and references beside them, and spectra that no chain here was trained on."""
    more = pl.DataFrame({str(1000 + 2 * number): frame["1100"] for number in range(30)})
    frame = more.hstack(frame).with_columns(protein=pl.Series(PROTEIN), date=pl.lit("2026-11-30"))
    return frame.insert_column(0, pl.Series("sample", [f"w{number}" for number in range(40)]))


def trained(store: WorkspaceStore, target: Any = "protein", config: Any = CONFIG, **columns: Any) -> str:
    """Return a chain for the columns of y that are given."""
    found = PipelineRunner(store).run(config, SPECTRA.with_columns(**columns), target=target)
    return str(found["chain_id"][0])


@pytest.fixture
def chain(store: WorkspaceStore) -> str:
    return trained(store, protein=pl.Series(PROTEIN))


def test_the_error_on_the_calibration_once_was_called_rmsep(store: WorkspaceStore, chain: str) -> None:
    word = "protein: these are the samples that the chain was fitted on"
    assert str(store.predict_table(chain, described(SPECTRA)).warning).startswith(word)
    others = described(SPECTRA).with_columns(protein=pl.Series(PROTEIN + 0.01))
    assert word not in str(store.predict_table(chain, others).warning)
    assert word not in str(store.predict_table(chain, described(SPECTRA)[:30]).warning)


def test_predictions_once_stood_behind_hundreds_of_spectra_that_predict_nothing(
    store: WorkspaceStore, chain: str
) -> None:
    table = described(SPECTRA)
    named = ["sample", "protein", "date"]
    found = store.predict_table(chain, table).frame
    assert found.columns == [*named, "protein_predicted", *FLAGS]
    assert found.select(named).equals(table.select(named))
    np.testing.assert_allclose(found["protein_predicted"], store.replay_chain(chain, X), rtol=1e-12)
    assert store.predict_table(chain, table, keep="none").frame.columns == ["protein_predicted", *FLAGS]
    whole = store.predict_table(chain, table, keep="all").frame
    assert whole.columns == [*named, *WAVELENGTHS, "protein_predicted", *FLAGS]
    np.testing.assert_array_equal(whole.select(WAVELENGTHS), X)
    with pytest.raises(InvalidInputError, match="keep='some' is none of none, ids, all"):
        store.predict_table(chain, table, keep="some")


def test_numbers_that_only_count_are_no_spectra(store: WorkspaceStore, chain: str) -> None:
    table = SPECTRA.with_columns(**{f"note{number}": pl.lit(0.5) for number in range(1, 13)})
    assert store.predict_table(chain, table).frame.width == 13 + len(FLAGS)


def test_a_chain_elsewhere_gives_the_same_table(store: WorkspaceStore, chain: str, tmp_path: Path) -> None:
    described(SPECTRA).write_csv(tmp_path / "new.csv")
    expected = store.predict_table(chain, tmp_path / "new.csv")
    bundle = load_bundle(store.export_chain(chain, tmp_path / "model.n4a"), trusted=True)
    for found in (
        bundle.predict_table(str(tmp_path / "new.csv")),
        store.load_chain(chain).predict_table(described(SPECTRA)),
    ):
        assert found.scores["protein"] == pytest.approx(expected.scores["protein"])
        assert found.frame["protein_predicted"].to_list() == pytest.approx(
            expected.frame["protein_predicted"].to_list()
        )


def test_references_in_the_file_tell_how_good_predictions_are(store: WorkspaceStore, chain: str) -> None:
    table = described(SPECTRA).with_columns(
        protein=pl.when(pl.int_range(40) == 5).then(None).otherwise(pl.col("protein") + 3 * (pl.int_range(40) == 7))
    )
    found = store.predict_table(chain, table)
    known = np.arange(40) != 5
    y, y_pred = table["protein"].to_numpy()[known], found.frame["protein_predicted"].to_numpy()[known]
    line = LinearRegression().fit(y_pred[:, None], y)
    expected = {
        "n": 39,
        "rmse": root_mean_squared_error(y, y_pred),
        "r2": r2_score(y, y_pred),
        "bias": np.mean(y_pred - y),
        "sep": np.std(y_pred - y, ddof=1),
        "slope": line.coef_[0],
    }
    assert {name: found.scores["protein"][name] for name in expected} == pytest.approx(expected)
    assert found.worst.columns == ["row", "sample", "protein", "date", "reference", "predicted", "target", "error"]
    assert found.worst["row"].to_list()[0] == 7
    errors = np.abs(y_pred - y)
    assert found.worst["error"].abs().to_list() == pytest.approx(sorted(errors, reverse=True)[:5])
    told = lines_of_scores(found)
    assert told[0].startswith(f"protein: n 39, RMSEP {expected['rmse']:.4g}, SEP {expected['sep']:.4g}, bias ")
    assert told[1].startswith("  row 7 (w7, ")
    assert len(told) == 6


def test_what_is_no_number_among_references_is_not_counted(store: WorkspaceStore, chain: str) -> None:
    texts = ["n.d.", *map(str, PROTEIN[1:])]
    found = store.predict_table(chain, described(SPECTRA).with_columns(protein=pl.Series(texts)))
    assert found.scores["protein"]["n"] == 39
    nothing = store.predict_table(chain, described(SPECTRA).with_columns(protein=pl.lit(None)))
    assert (nothing.scores, nothing.worst.height, lines_of_scores(nothing)) == (
        {"protein": {"n": 0}},
        0,
        ["protein: n 0"],
    )


def test_several_targets_have_a_column_and_scores_each(store: WorkspaceStore) -> None:
    moisture = pl.Series(X[:, 2])
    chain = trained(store, ["protein", "moisture"], protein=pl.Series(PROTEIN), moisture=moisture)
    found = store.predict_table(chain, SPECTRA.with_columns(moisture=moisture))
    assert found.frame.columns[:3] == ["moisture", "protein_predicted", "moisture_predicted"]
    assert list(found.scores) == ["moisture"]
    y_pred = store.replay_chain(chain, X)[:, 1]
    assert found.scores["moisture"]["rmse"] == pytest.approx(root_mean_squared_error(moisture, y_pred))


def test_classes_keep_their_words_and_are_scored_as_classes(store: WorkspaceStore) -> None:
    labels = np.where(np.median(PROTEIN) < PROTEIN, "high", "low")
    chain = trained(store, "grade", [KFold(3), LogisticRegression(C=0.01)], grade=pl.Series(labels))
    found = store.predict_table(chain, SPECTRA.with_columns(grade=pl.Series(labels)))
    y_pred = found.frame["grade_predicted"].to_numpy()
    assert set(y_pred) == {"high", "low"}
    assert found.scores["grade"]["balanced_accuracy"] == balanced_accuracy_score(labels, y_pred)
    assert found.scores["grade"]["mcc"] == pytest.approx(matthews_corrcoef(labels, y_pred))
    assert (y_pred != labels).sum() > 0
    assert found.worst["row"].to_list() == np.flatnonzero(y_pred != labels)[:5].tolist()
    assert "error" not in found.worst.columns
    assert "accuracy" in lines_of_scores(found)[0]


def test_a_chain_that_knows_no_names_of_targets_calls_its_predictions_predicted(store: WorkspaceStore) -> None:
    chain = str(PipelineRunner(store).run(CONFIG, (SPECTRA, PROTEIN))["chain_id"][0])
    found = store.predict_table(chain, described(SPECTRA))
    assert found.frame.columns[3] == "predicted"
    assert (found.scores, found.worst.width) == ({}, 0)


@pytest.mark.parametrize(
    "model",
    [HistGradientBoostingRegressor(max_iter=5), make_pipeline(SimpleImputer(), Ridge())],
    ids=["trees", "imputer"],
)
def test_a_row_with_a_gap_once_had_no_prediction_though_the_chain_fills_it(store: WorkspaceStore, model: Any) -> None:
    model.fit(X, PROTEIN)
    model_id = store.save_artifact(model, type(model).__name__, "model", "joblib")
    step = {"step_idx": 0, "operator_class": "x", "params": {}, "artifact_id": None, "stateless": False}
    _, pipeline_id = add_pipeline(store)
    chain = store.save_chain(pipeline_id, [step], 0, "x", "", "per_fold", {"0": [model_id]}, {})
    gaps = X.copy()
    gaps[3, 4] = np.nan
    found = store.predict_table(chain, pl.DataFrame(gaps, schema=WAVELENGTHS, nan_to_null=True))
    assert found.n_missing == 0
    np.testing.assert_allclose(found.frame["predicted"], model.predict(gaps))
    assert "1 spectrum lacks values, which the chain fills" in (found.warning or "")


def test_a_row_without_a_value_once_was_the_mean_spectrum_and_believed(store: WorkspaceStore) -> None:
    chain = trained(store, config=[KFold(3), SimpleImputer(), Ridge()], protein=pl.Series(PROTEIN))
    gaps = X.copy()
    gaps[3], gaps[5, 4] = np.nan, np.nan
    found = store.predict_table(chain, pl.DataFrame(gaps, schema=WAVELENGTHS, nan_to_null=True))
    assert found.n_missing == 1
    assert found.frame.row(3) == (None,) * found.frame.width
    np.testing.assert_allclose(
        found.frame["protein_predicted"].drop_nulls(), store.replay_chain(chain, np.delete(gaps, 3, axis=0))
    )
    assert "1 spectrum lacks values" in (found.warning or "")
    with pytest.raises(InvalidInputError, match="every one of the 1 rows has a missing value"):
        store.predict_table(chain, SPECTRA[:1].with_columns(pl.all() * np.nan))


def test_a_row_with_a_gap_that_the_chain_cannot_take_has_no_prediction(store: WorkspaceStore, chain: str) -> None:
    gaps = described(SPECTRA).with_columns(pl.when(pl.int_range(40) != 3).then(pl.col("1100")).alias("1100"))
    found = store.predict_table(chain, gaps)
    assert isinstance(found, PredictionTable)
    assert (found.n_missing, found.scores["protein"]["n"]) == (1, 39)
    assert found.frame["protein_predicted"].null_count() == 1
    assert found.frame["protein_predicted"][3] is None
    with pytest.raises(InvalidInputError, match="every one of the 1 rows has a missing value"):
        store.predict_table(chain, gaps[3:4])


def test_scans_of_one_sample_are_averaged_beside_each_scan(store: WorkspaceStore, chain: str) -> None:
    names = [f"s{number // 3}" if number < 39 else None for number in range(40)]
    table = described(SPECTRA).with_columns(sample=pl.Series(names))
    found = store.predict_table(chain, table, average="sample")
    assert found.frame.columns[3:6] == ["protein_predicted", "protein_predicted_by_sample", "n_scans"]
    each = found.frame["protein_predicted"].to_numpy()
    means = each[:39].reshape(13, 3).mean(axis=1)
    np.testing.assert_allclose(found.frame["protein_predicted_by_sample"][:39], means.repeat(3), rtol=1e-12)
    assert found.frame["n_scans"].to_list() == [3] * 39 + [None], "a scan without a name is of no sample"
    assert found.frame["protein_predicted_by_sample"][39] is None
    references = PROTEIN[:39].reshape(13, 3).mean(axis=1)
    assert found.scores_by_sample["protein"]["n"] == 13
    assert found.scores_by_sample["protein"]["rmse"] == pytest.approx(root_mean_squared_error(references, means))
    assert found.scores == store.predict_table(chain, table).scores, "the scores by scan stay what they are"
    assert [line.split(":")[0] for line in lines_of_scores(found)[:2]] == ["protein", "protein, by sample"]
    gaps = table.with_columns(pl.when(pl.int_range(40) != 3).then(pl.col("1100")).alias("1100"))
    assert store.predict_table(chain, gaps, average="sample").frame["n_scans"][:6].to_list() == [3] * 3 + [2] * 3
    with pytest.raises(InvalidInputError, match=r"no column 'id' that says .* by one of 'sample', 'protein', 'date'"):
        store.predict_table(chain, table, average="id")


def test_metadata_that_are_called_as_ours_were_left_out_of_the_answer(store: WorkspaceStore, chain: str) -> None:
    table = SPECTRA.with_columns(q=pl.lit("lab 7"), q_1=pl.lit("old"), t2=pl.lit(3))
    found = store.predict_table(chain, table).frame
    assert found.columns == ["q_2", "q_1", "t2_1", "protein_predicted", *FLAGS]
    assert found.row(0)[:3] == ("lab 7", "old", 3)
    again = store.predict_table(chain, found.hstack(SPECTRA)).frame
    assert again.columns == found.columns, "what was predicted before is replaced"


def test_scans_without_a_reference_once_left_the_average_that_was_scored(store: WorkspaceStore, chain: str) -> None:
    once = pl.when(pl.int_range(40) % 4 == 0).then(pl.Series(PROTEIN))  # The first scan alone has that of the sample.
    table = SPECTRA.with_columns(id=pl.int_range(40) // 4, protein=once)
    found = store.predict_table(chain, table, average="id")
    means = store.replay_chain(chain, X).reshape(10, 4).mean(axis=1)
    assert (found.scores["protein"]["n"], found.scores_by_sample["protein"]["n"]) == (10, 10)
    assert found.scores_by_sample["protein"]["rmse"] == pytest.approx(root_mean_squared_error(PROTEIN[::4], means))


def test_of_classes_the_most_frequent_one_of_a_samples_scans_is_taken(store: WorkspaceStore) -> None:
    labels = pl.Series(np.where(np.median(PROTEIN) < PROTEIN, "high", "low"))
    chain = trained(store, "grade", [KFold(3), LogisticRegression()], grade=labels)
    table = SPECTRA.with_columns(grade=labels, id=pl.int_range(40) // 2 % 5)
    found = store.predict_table(chain, table, average="id").frame
    for rows in found.partition_by("id"):
        counts = rows["grade_predicted"].to_list()
        expected = "high" if counts.count("high") >= counts.count("low") else "low"
        assert set(rows["grade_predicted_by_id"]) == {expected}
        assert set(rows["n_scans"]) == {8}


def test_references_that_cannot_be_read_once_were_left_out_without_a_word(store: WorkspaceStore, chain: str) -> None:
    values = [f"{value:.2f}" for value in PROTEIN]
    values[3:7] = ["below LOD", "<10", "n/a", ""]
    found = store.predict_table(chain, SPECTRA.with_columns(protein=pl.Series(values)))
    assert found.scores["protein"]["n"] == 36
    assert found.unread == {"protein": "2 values are no numbers, as 'below LOD', and not compared"}
    assert lines_of_scores(found)[0].endswith("; 2 values are no numbers, as 'below LOD', and not compared")
    assert store.predict_table(chain, described(SPECTRA)).unread == {}


def test_numbers_once_were_all_wrong_where_a_chain_predicts_words(store: WorkspaceStore) -> None:
    words = pl.Series(np.where(PROTEIN > 12, "high", "low"))
    chain = trained(store, config=[KFold(3), LogisticRegression()], protein=words)
    found = store.predict_table(chain, SPECTRA.with_columns(protein=pl.Series(PROTEIN)))
    assert found.scores == {"protein": {"n": 0}}
    assert found.unread["protein"].startswith("no value is a class that the chain knows, as '")
    other = words.replace("high", "dry")
    assert store.predict_table(chain, SPECTRA.with_columns(protein=other)).scores["protein"]["n"] == 40


@pytest.mark.parametrize("in_training", [slow(pl.Float64), pl.Boolean])
def test_classes_once_were_all_wrong_where_a_file_writes_them_in_another_way(
    store: WorkspaceStore, in_training: Any
) -> None:
    classes = pl.Series((PROTEIN > 12).astype(int))
    chain = trained(store, config=[KFold(3), LogisticRegression()], protein=classes.cast(in_training))
    in_file = classes if in_training == pl.Float64 else classes.cast(pl.Boolean).cast(pl.String).str.to_titlecase()
    expected = store.predict_table(chain, SPECTRA.with_columns(protein=classes.cast(in_training)))
    found = store.predict_table(chain, SPECTRA.with_columns(protein=in_file))
    assert found.unread == {}
    assert found.scores["protein"]["accuracy"] == expected.scores["protein"]["accuracy"] > 0.5


def test_a_chain_that_knows_no_domain_once_looked_as_if_all_spectra_were_like_its_own(store: WorkspaceStore) -> None:
    few = SPECTRA.with_columns(protein=pl.Series(PROTEIN))[:9]
    known = store.predict_table(trained(store, protein=pl.Series(PROTEIN)), SPECTRA)
    unknown = PipelineRunner(store).run(CONFIG, few, target="protein")["chain_id"][0]
    found = store.predict_table(unknown, SPECTRA * 1000)
    assert "outside_x" not in found.frame.columns
    assert found.warning is not None
    assert found.warning.startswith("nothing tells whether these spectra are like the calibration")
    assert "outside the calibration's range" in found.warning
    assert known.warning is None or "nothing tells" not in known.warning


def test_intervals_of_what_is_unlike_the_calibration_and_of_too_few_samples_promise_nothing(
    store: WorkspaceStore, chain: str
) -> None:
    strange = store.predict_table(chain, SPECTRA * 1000, interval=0.9).warning or ""
    assert "an interval promises nothing for a spectrum that is unlike the calibration" in strange
    assert "no bounds" not in strange
    few = store.predict_table(chain, SPECTRA, interval=0.99).warning or ""
    assert "too few samples were held out for intervals of 0.99, which have no bounds" in few


def test_wavelengths_in_another_unit_are_said_to_be_another_range(store: WorkspaceStore, chain: str) -> None:
    for names in ([f"{1e7 / float(name):.1f}" for name in WAVELENGTHS], [f"{float(n) / 1000:g}" for n in WAVELENGTHS]):
        with pytest.raises(InvalidInputError, match=r"lacks 12 of the 12 .* in the unit of training \(nm, cm-1, µm\)"):
            store.predict_table(chain, SPECTRA.rename(dict(zip(WAVELENGTHS, names, strict=True))))


def test_names_in_the_index_of_pandas_were_lost_and_an_array_had_no_columns(store: WorkspaceStore, chain: str) -> None:
    table = described(SPECTRA)
    found = store.predict_table(chain, table.to_pandas().set_index("sample")).frame
    assert found["sample"].equals(table["sample"])
    with pytest.raises(InvalidInputError, match="data is ndarray; give a file or a frame"):
        store.predict_table(chain, X)


@pytest.mark.parametrize("weight", [pl.Series(GENERATOR.uniform(100, 300, 40)), pl.lit("heavy")])
def test_a_column_called_weight_counted_as_weights_of_the_scores(
    store: WorkspaceStore, chain: str, weight: Any
) -> None:
    table = described(SPECTRA)
    found = store.predict_table(chain, table.with_columns(weight=weight))
    assert found.scores == store.predict_table(chain, table).scores
