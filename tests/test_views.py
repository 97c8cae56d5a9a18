"""What the command line shows, as data: which rows and columns, in what order, and the texts of them."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from stored_models import add_model

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore, figures, views
from nirs4all_store.engine.duckdb import readonly_sql
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction
from nirs4all_store.views import listings
from nirs4all_store.views.overview import overview_of


@pytest.fixture
def chain_id(store: WorkspaceStore) -> str:
    """Give a chain with predictions of a fold and of all folds together."""
    _, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    for fold, partition, score in (("0", "val", 0.5), ("avg", "train", 0.1), ("avg", "val", 0.4)):
        prediction_id = add_prediction(
            store, pipeline_id, chain_id=chain_id, fold_id=fold, partition=partition, val_score=score, test_score=None
        )
        store.save_prediction_arrays(prediction_id, [1.0, 2.0], [1.5, score])
    return chain_id


def test_people_see_some_columns_and_programs_all(store: WorkspaceStore, chain_id: str) -> None:
    listing = views.list_runs(store, None, None, 10)
    assert listing.table.columns == [*listings.LISTED_RUNS]
    assert listing.rows.equals(store.run_summaries())
    assert listing.ids == store.list_runs()["run_id"].to_list()
    (run,) = views.json_rows(listing.rows)
    assert (type(run["datasets"]), run["created_at"].tzinfo is None) == (list, False)
    assert views.csv_rows(listing.rows)["created_at"][0].endswith("+00:00")


def test_models_are_listed_without_the_score_of_test_data_where_there_is_none(
    store: WorkspaceStore, chain_id: str
) -> None:
    listing = views.list_models(store, views.held_out(store.query_predictions()))
    assert listing.table.columns == ["#", "chain_id", "model", "preprocessings", "RMSECV", "RMSEC"]
    assert listing.rows["val_score"].to_list() == listing.table["RMSECV"].to_list() == [0.4]
    assert listing.table["#"].to_list() == [1]
    _, pipeline_id = add_pipeline(store)
    final = {"val_score": None, "test_score": 0.7, "train_score": 0.2, "fold_id": "final", "partition": "train"}
    add_prediction(store, pipeline_id, chain_id=chain_id, **final)
    listing = views.list_models(store, views.held_out(store.query_predictions()))
    assert listing.table.select("RMSECV", "RMSEP", "RMSEC").rows() == [(0.4, 0.7, 0.2)]
    nothing = views.list_models(store, store.top_predictions(0))
    assert nothing.table.columns == ["#", "chain_id", "model", "preprocessings"]


def test_a_ranking_tells_how_much_the_folds_differ(store: WorkspaceStore, chain_id: str) -> None:
    pipeline_id = (store.get_chain(chain_id) or {})["pipeline_id"]
    for fold, score in (("1", 0.1), ("2", 0.3)):
        add_prediction(store, pipeline_id, chain_id=chain_id, fold_id=fold, partition="val", val_score=score)
    folds = store.query_predictions(partition="val").filter(pl.col("fold_id").is_in(["0", "1", "2"]))["val_score"]
    listing = views.list_models(store, views.held_out(store.query_predictions()))
    assert listing.table.columns[4:6] == ["RMSECV ±folds", "RMSEC"], "a column more has no room in 80 characters"
    assert listing.table["RMSECV ±folds"].to_list() == [f"0.4 ±{folds.std():.2g}"]
    assert listing.rows["sd_over_folds"].to_list() == [pytest.approx(folds.std())]
    one = views.list_models(store, views.rank(store, 1, fold="1"))
    assert "RMSECV ±folds" not in one.table.columns
    final = {"val_score": None, "test_score": 0.7, "fold_id": "final", "partition": "test"}
    add_prediction(store, pipeline_id, chain_id=chain_id, **final)
    tested = views.list_models(store, views.rank(store, 1, partition="test"))
    assert {"RMSEP", "RMSECV ±folds"} & {*tested.table.columns} == {"RMSEP"}, (
        "how much RMSECV differs once stood beside RMSEP alone"
    )
    add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="3", partition="val", val_score=float("nan"))
    unknown = views.list_models(store, views.held_out(store.query_predictions()))
    assert unknown.rows["sd_over_folds"].to_list() == [None], "that of the other folds would tell of another model"


def test_each_ranking_once_started_a_process_to_tell_how_much_the_folds_differ(
    store: WorkspaceStore, chain_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(readonly_sql, "SqlProcess")
    pipeline_id = (store.get_chain(chain_id) or {})["pipeline_id"]
    chains = [chain_id, *(add_chain(store, pipeline_id) for _ in range(2))]
    for number, chain in enumerate(chains):
        for fold, score in (("0", 0.5), ("1", number), ("avg", 0.4)):
            if (chain, fold) != (chain_id, "0"):
                add_prediction(store, pipeline_id, chain_id=chain, fold_id=fold, val_score=score)
    judged = views.held_out(store.query_predictions()).unique("chain_id", maintain_order=True)
    spreads = {chain: np.std([0.5, number], ddof=1) for number, chain in enumerate(chains)}
    found = views.list_models(store, judged).rows
    assert dict(found.select("chain_id", "sd_over_folds").iter_rows()) == pytest.approx(spreads)


def test_models_as_good_as_the_best_are_marked_and_the_simplest_is_named(store: WorkspaceStore) -> None:
    run_id = store.begin_run("sweep")
    judged = {"folds": "f", "targets": ["protein"], "splitter": "KFold(3)", "n_repeats": 1}
    chains = []
    for steps, components, folds in (
        ("SNV > SG", 4, (0.4, 0.6, 0.5)),
        ("SNV", 6, (0.45, 0.6, 0.5)),
        ("SNV", 5, (0.5, 0.6, 0.5)),
        ("SNV", 2, (0.9, 0.9, 0.9)),
    ):
        pipeline_id = store.begin_pipeline(run_id, "p", {"n": components}, [], "wheat", "0" * 64, judged_by=judged)
        chain_id = add_chain(store, pipeline_id)
        chains.append(chain_id)
        told: dict[str, Any] = {"chain_id": chain_id, "model_name": "PLS", "preprocessings": steps}
        told |= {"best_params": {"n_components": components}, "test_score": None}
        for fold, score in enumerate(folds):
            add_prediction(store, pipeline_id, **told, fold_id=str(fold), val_score=score)
        rmsecv = float(np.sqrt(np.mean(np.square(folds))))
        add_prediction(store, pipeline_id, **told, fold_id="avg", val_score=rmsecv, scores={"val": {"rmse": rmsecv}})
    listing = views.list_models(store, views.rank(store, 9))
    assert listing.rows["chain_id"].to_list() == chains
    squares = np.square([0.4, 0.6, 0.5])
    bound = np.sqrt(squares.mean()) + squares.std(ddof=1) / np.sqrt(3) / 2 / np.sqrt(squares.mean())
    assert [score <= bound for score in listing.rows["score"]] == [True, True, True, False]
    assert listing.table["#"].to_list() == ["1*", "2*", "3*", "4"]
    assert listing.notes == ["* within one standard error of the best; the simplest of them: PLS (n_components=5) SNV"]
    first = views.list_models(store, views.rank(store, 1), limit=1, more=lambda count: views.rank(store, count))
    assert (first.table["#"].to_list(), first.rows.height) == (["1*"], 1)
    assert first.notes == [
        "* within one standard error of the best, and 2 more that are not listed; the simplest of them: "
        "PLS (n_components=5) SNV"
    ], "the simplest was another one with each number of rows"
    store.delete_prediction(listing.rows["prediction_id"][1])
    store.delete_prediction(listing.rows["prediction_id"][2])
    assert views.list_models(store, views.rank(store, 9)).table["#"].to_list() == [1, 2], "the best alone is not marked"


def test_a_ranking_by_sample_was_refused_where_the_samples_of_some_models_have_no_names(store: WorkspaceStore) -> None:
    rng = np.random.default_rng(0)
    data = {"X": rng.normal(size=(12, 3)), "y": rng.normal(size=12)}
    names = [f"s{row // 2}" for row in range(12)]
    for name, more in (("scans", {"sample": names, "groups": names}), ("others", {})):
        PipelineRunner(store).run([Ridge()], data | more | {"name": name}, refit=False)
    found = views.list_models(store, views.rank(store, 9), "sample").rows
    assert dict(found.select("dataset_name", "samples").rows()) == {"scans": 6, "others": None}
    with pytest.raises(InvalidInputError, match="no column 'sample' that says"):
        views.list_models(store, views.rank(store, 9, dataset_name="others"), "sample")


def test_models_that_cannot_be_compared_are_listed_with_what_differs(store: WorkspaceStore) -> None:
    run_id = store.begin_run("two")
    for folds, target, coverage in (("f1", "protein", None), ("f2", "moisture", {"never": 3, "several": 0})):
        judged = {"folds": folds, "targets": [target], "splitter": f"Splitter({folds})", "coverage": coverage}
        pipeline_id = store.begin_pipeline(run_id, "p", {}, [], "wheat", folds * 32, judged_by=judged)
        scores = {"val": {"rmse": 0.1, "r2": 0.9, "rmse_sd": 0.01}}
        add_prediction(store, pipeline_id, fold_id="avg", scores=scores, test_score=None)
    table = views.list_models(store, views.rank(store, 5)).table
    told = table.select("#", "R²", "± sd", "target", "judged by").rows()
    assert told == [
        (1, 0.9, 0.01, "moisture", "A"),
        (1, 0.9, 0.01, "protein", "B"),
    ]
    notes = views.list_models(store, views.rank(store, 5)).notes
    assert notes == ["judged by A: Splitter(f2); held out: 3 samples never", "judged by B: Splitter(f1)"]
    alone = views.list_models(store, views.rank(store, 5, target="moisture"), target="moisture")
    assert "judged by" not in alone.table.columns
    assert alone.notes == ["judged by Splitter(f2); held out: 3 samples never"], "what is unusual is always said"
    assert views.rank(store, 5, "r2")["score"].to_list() == [0.9, 0.9]
    assert views.rank(store, 5, "rmsep").is_empty()


def test_a_chain_is_shown_with_what_was_held_out_of_all_folds_first(store: WorkspaceStore, chain_id: str) -> None:
    shown = views.show(store, "chains", chain_id)
    places = shown.rows.rows.select("fold_id", "partition").rows()
    assert places == [("avg", "val"), ("avg", "train"), ("0", "val")]
    assert shown.rows.table["name"].to_list() == ["RMSECV", "RMSEC", ""]
    assert shown.drawn is not None
    np.testing.assert_array_equal(shown.drawn["y_pred"], [1.5, 0.4])
    assert ("model_class", shown.values["model_class"]) in views.lines_of(shown.values)


PARAMS = {"model": {"class": "PLS", "params": {"n_components": 4, "scale": False}}, "target_names": ["protein"]}


def test_what_a_thing_is_looked_up_for_once_came_last(store: WorkspaceStore, chain_id: str) -> None:
    chain = store.get_chain(chain_id) or {}
    pipeline = store.get_pipeline(chain["pipeline_id"]) or {}
    (prediction,) = store.query_predictions(fold_id="0")["prediction_id"]
    table = pl.DataFrame({"1100": [0.1, 0.2], "1102": [0.3, 0.4], "protein": [11.0, 12.0]})
    dataset = store.save_dataset({"X": table, "unit": "%", "name": "wheat"}, "protein")
    artifact = store.save_artifact([1, 2], "list", "model")
    told = {
        kind: views.show(store, kind, name).answer
        for kind, name in (
            ("chains", chain_id),
            ("runs", pipeline["run_id"]),
            ("pipelines", pipeline["pipeline_id"]),
            ("predictions", prediction),
            ("datasets", dataset),
            ("artifacts", artifact),
        )
    }
    assert told == {
        "chains": "PLS on wheat: RMSECV 0.4",
        "runs": "run run, running: 1 pipeline; the best: PLS on wheat: RMSECV 0.4",
        "pipelines": "0001_pls on wheat, running",
        "predictions": "PLS, wheat: cross-validation, fold 0: rmse 0.5, 40 samples",
        "datasets": "dataset wheat: 2 samples, 2 variables, protein (%)",
        "artifacts": "list, model, 20 bytes",
    }
    store.fail_pipeline(pipeline["pipeline_id"], "Traceback\nValueError: no")
    assert views.show(store, "pipelines", pipeline["pipeline_id"]).answer.endswith("failed: ValueError: no")
    bare = add_chain(store, pipeline["pipeline_id"])
    assert views.show(store, "chains", bare).answer.endswith(": no predictions are stored")


def test_what_is_the_same_in_all_rows_of_a_log_is_not_shown(store: WorkspaceStore, chain_id: str) -> None:
    pipeline_id = (store.get_chain(chain_id) or {})["pipeline_id"]
    for step in range(2):
        store.log_step(pipeline_id, step, "SNV", "end", 1.5)
    listing = views.list_log(store, pipeline_id)
    assert listing.table.columns == ["step_idx", "operator_class", "duration_ms"]
    assert {"event", "level", "created_at"} <= {*listing.rows.columns}
    store.log_step(pipeline_id, 2, "PLS", "warning", None, "slow", level="warning")
    assert {"event", "level", "message"} <= {*views.list_log(store, pipeline_id).table.columns}


def test_lines_leave_out_what_says_nothing_and_keep_those_of_an_error() -> None:
    values = {
        "name": "wheat",
        "preprocessings": "",
        "branch_id": None,
        "error": "one\ntwo",
        "y_true": np.zeros(3),
        "scores": {"val": {"rmse": 0.123456}},
        "best_params": [*range(30)],
        "steps": [{"operator_class": "SNV", "params": {}}, {"operator_class": "PLS", "params": PARAMS}],
    }
    assert views.lines_of(values, traceback=True)[1:3] == [("error", "one"), ("", "two")]
    assert views.lines_of({"run_id": "r"} | values) == [
        ("name", "wheat"),
        ("error", "two"),
        ("y_true", "float64 (3,)"),
        ("scores, val", "rmse 0.1235"),
        ("best_params", '[0, 1, "... 27 more ...", 29]'),
        ("steps", "SNV"),
        ("", "PLS (n_components=4, scale=False)"),
        ("", '  target_names: ["protein"]'),
        ("run_id", "r"),
    ]


def test_the_first_choice_that_leaves_nothing_is_named_with_what_there_is() -> None:
    rows = pl.DataFrame({"val_score": [0.1, 0.2], "dataset_name": ["a", "b"], "metric": ["r2", "rmse"]})
    rows = rows.with_columns(task_type=pl.lit("regression"))
    assert views.first_unmatched(rows, {"dataset_name": "c", "metric": "mae"}) == ("dataset_name", ["a", "b"])
    assert views.first_unmatched(rows, {"dataset_name": "a", "metric": "mcc"}) == (
        *("metric", ["r2", "rmse", "mae", "bias", "sep", "rpd", "rpiq", "slope"]),
    ), "it said that a ranking takes no other metric than the one that the rows have"
    assert views.first_unmatched(rows, {"dataset_name": "a", "metric": None}) is None


def test_two_things_are_compared_value_by_value(store: WorkspaceStore, chain_id: str) -> None:
    one, other = (store.begin_run("wheat", {"seed": seed}) for seed in (1, 2))
    listing = views.compare(store, "runs", one, other)
    found = {row["what"]: (row["one"], row["other"]) for row in views.json_rows(listing.rows)}
    assert found["config.seed"] == (1, 2)
    assert ["config.seed", "1", "2"] in views.cells(listing.table, {})
    assert [one, other] == list(found["run_id"])


def test_texts_are_those_of_one_line() -> None:
    assert listings.text_of("a\nb") == "a\\nb"
    assert listings.text_of(datetime(2026, 1, 2, 3, 4, tzinfo=UTC).replace(tzinfo=None)) == "2026-01-02 03:04"
    assert [listings.text_of(value) for value in (None, 0.123456, [1, None])] == ["", "0.1235", "[1, null]"]


def test_several_targets_once_were_drawn_as_one(tmp_path: Path) -> None:
    prediction = {
        "prediction_id": "p",
        "task_type": "regression",
        "model_name": "PLS",
        "metric": "r2",
        "partition": "val",
        "fold_id": "avg",
        "val_score": 0.9,
        "scores": {"val": {"targets": {"protein": {}, "moisture": {}}}},
        "y_true": np.array([[1.0, 100.0], [2.0, np.nan], [3.0, 300.0]]),
        "y_pred": np.array([[1.1, 110.0], [2.1, 210.0], [2.9, 290.0]]),
    }
    drawn = figures.draw(prediction)
    first, second = drawn.split("moisture\n")
    assert first.startswith("protein\n")
    assert ("100" in first, "100" in second) == (False, True)
    page = figures.save(prediction, tmp_path / "both.html").read_text()
    assert page.count('id="axes_') == 4, "of each target the values and the residuals"


def test_runs_tell_what_their_pipelines_come_to(store: WorkspaceStore) -> None:
    run_id = store.begin_run("sweep", {}, [{"name": "wheat"}, {"name": "maize"}])
    for score in (0.4, 0.3):
        store.complete_pipeline(store.begin_pipeline(run_id, "p", {}, [], "wheat", "hash"), score, None, "rmse", 5)
    failed = store.begin_pipeline(run_id, "p", {}, [], "wheat", "hash")
    store.fail_pipeline(failed, "Traceback (most recent call last):\n  File 'x'\nValueError: too many components\n")
    empty = store.begin_run("empty")
    store.complete_run(run_id, {})
    listing = views.list_runs(store, None, None, 10)
    assert listing.table["run_id"].to_list() == [empty, run_id]
    assert listing.table.select("pipelines", "failed", "best", "data").rows() == [
        (0, 0, None, ""),
        (3, 1, "RMSECV 0.3", "wheat, maize"),
    ]
    assert str(listing.table["took"][1]).endswith(" s")
    reasons = views.list_pipelines(store, run_id, 9, "failed").table
    assert reasons.select("pipeline_id", "error").rows() == [(failed, "ValueError: too many components")]
    assert "error" not in views.list_pipelines(store, run_id, 9, "completed").table.columns


def test_models_that_differ_in_their_preprocessing_alone_once_read_the_same(store: WorkspaceStore) -> None:
    X = np.random.default_rng(0).normal(size=(20, 8))
    pca = {"class": "sklearn.decomposition.PCA", "params": {"n_components": {"_or_": [2, 3]}, "whiten": False}}
    config = [KFold(2), StandardScaler(), pca, {"class": "sklearn.linear_model.Ridge", "params": {"alpha": 1.0}}]
    found = PipelineRunner(store).run(config, (X, X[:, 0]), refit=False)
    table = views.list_models(store, views.held_out(found)).table
    assert sorted(table["preprocessings"]) == [f"StandardScaler > PCA (n_components={n})" for n in (2, 3)]
    assert set(table["model"]) == {"Ridge (alpha=1.0)"}
    names = store.list_pipelines()["name"].sort().to_list()
    assert names == [f"StandardScaler > PCA(n_components={n}, whiten=False) > Ridge(alpha=1.0)" for n in (2, 3)]
    (first, second) = found["chain_id"].unique(maintain_order=True)
    steps = store.compare_chains([first, second]).steps
    assert {*steps["first"], *steps["other"]} == {f"PCA(n_components={n}, whiten=False)" for n in (2, 3)}
    pca3 = found.filter(pl.col("chain_id") == (first if "3" in steps["first"][0] else second))["chain_id"][0]
    alike = PipelineRunner(store).run([KFold(2), StandardScaler(), PCA(3), Ridge()], (X, X[:, 0]), refit=False)
    assert store.compare_chains([pca3, alike["chain_id"][0]]).steps.is_empty(), "a default that was set once differed"
    (model,) = [step for step in (store.get_chain(first) or {})["steps"] if step["operator_class"] == "Ridge"]
    assert model["params"]["model"]["params"] == {"alpha": 1.0}, "what is set to its default was not kept"
    same = PipelineRunner(store).run([KFold(2), StandardScaler(), PCA(2), Ridge()], (X, X[:, 0]), refit=False)
    both = pl.concat([views.held_out(same), views.held_out(found)])
    told = views.list_models(store, both).table["preprocessings"]
    assert told[0] == "StandardScaler > PCA (n_components=2)", "whiten=False is the default, and no difference"


def test_programs_once_got_other_scores_of_a_model_than_people(store: WorkspaceStore) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    y = X[:, 0] + rng.normal(size=30)
    data = {"X": X[:20], "y": y[:20], "X_test": X[20:], "y_test": y[20:]}
    PipelineRunner(store).run([KFold(2), Ridge()], data, name="wheat")
    listing = views.list_models(store, views.rank(store, 1))
    (row,) = listing.rows.to_dicts()
    assert (row["test_score"], row["train_score"]) == listing.table.select("RMSEP", "RMSEC").row(0)
    assert (row["run_name"], row["run_id"], row["like_the_best"]) == ("wheat", *store.list_runs()["run_id"], False)


def test_a_ranking_by_one_target_once_told_the_scores_of_all(store: WorkspaceStore) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    y = np.stack([X[:, 0], rng.normal(size=30)], axis=1)
    PipelineRunner(store).run([KFold(2), Ridge()], (X, y))
    (both,) = views.list_models(store, views.rank(store, 1)).table.to_dicts()
    (one,) = views.list_models(store, views.rank(store, 1, target="y2"), target="y2").table.to_dicts()
    scores = store.query_predictions(fold_id="avg", partition="val")["scores"].str.json_decode(
        pl.Struct({"val": pl.Struct({"targets": pl.Struct({"y2": pl.Struct({"rmse": pl.Float64, "r2": pl.Float64})})})})
    )
    own = scores[0]["val"]["targets"]["y2"]
    assert (one["RMSECV"], one["R²"]) == (own["rmse"], own["r2"]) and own["r2"] < both["R²"]
    assert {"RMSEC", "RPD"} <= {*one} and "metric" not in one


def test_scores_of_two_metrics_once_stood_in_one_row(store: WorkspaceStore) -> None:
    X = np.random.default_rng(0).normal(size=(20, 3))
    one = PipelineRunner(store).run([KFold(2), Ridge()], (X, X[:, 0]), refit=False)["chain_id"][0]
    both = PipelineRunner(store).run([KFold(2), Ridge()], (X, X[:, :2]), refit=False)["chain_id"][0]
    told = views.compare_chains(store, one, both).table["what"].to_list()
    assert "score of cross-validation" not in told and "fold 0" not in told, "R² stood beside RMSE"


def test_a_score_once_stood_beside_the_name_of_another_metric(store: WorkspaceStore, chain_id: str) -> None:
    pipeline_id = (store.get_chain(chain_id) or {})["pipeline_id"]
    chain_id = add_chain(store, pipeline_id)
    scores = {"val": {"rmse": 0.3, "r2": 0.8}}
    add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", val_score=0.3, partition="val", scores=scores)
    found = views.rank(store, 1, "r2")
    assert views.list_models(store, found, ranked_by="r2").table["r2"].to_list() == [0.8]


def test_a_model_that_predicts_nothing_was_the_best_of_its_run(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", val_score=float("nan"), partition="val")
    assert "its best" not in dict(overview_of(store))
    assert "best" not in views.show(store, "runs", run_id).answer


def test_single_folds_among_others_are_not_marked_as_like_the_best(store: WorkspaceStore, chain_id: str) -> None:
    pipeline_id = (store.get_chain(chain_id) or {})["pipeline_id"]
    add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="1", val_score=0.39, partition="val")
    listing = views.list_models(store, views.rank(store, 9, fold="any"))
    assert not any("*" in str(mark) for mark in listing.table["#"])


def test_runs_of_a_dataset_that_nobody_has_once_were_no_rows(store: WorkspaceStore, chain_id: str) -> None:
    store.begin_run("r", {}, [{"name": "wheat"}])
    with pytest.raises(InvalidInputError, match="no dataset here is called 'whaet'; did you mean 'wheat'"):
        views.list_runs(store, None, "whaet", 9)


def test_two_chains_once_were_compared_by_ids_and_times_alone(store: WorkspaceStore) -> None:
    X = np.random.default_rng(0).normal(size=(20, 5))
    y = X[:, 0] + 0.1 * X[:, 1]
    configs: list[Any] = [[KFold(2), StandardScaler(), Ridge(0.1)], [KFold(2), Ridge(50.0)], [KFold(4), Ridge(50.0)]]
    ids = [PipelineRunner(store).run(config, (X, y))["chain_id"][0] for config in configs]
    listing = views.compare_chains(store, ids[0], ids[1])
    (sentence,) = listing.notes
    told = {row[0]: row[1:] for row in views.cells(listing.table, {})}
    best = store.rank_chains(chain_id=ids[0]).rows.row(0, named=True)
    assert next(iter(told)) == "RMSECV"
    assert told["RMSECV"][0] == listings.text_of(best["rmsecv"])
    assert {"R²", "RMSEC", "fold 0", "fold 1", "step 2", "step 3", "preprocessing"} <= {*told}
    assert told["step 2"] == ["StandardScaler()", ""]
    assert float(told["difference of errors, y"][1]) == pytest.approx(
        float(told["mean error, y"][1]) - float(told["mean error, y"][0]), rel=1e-2
    ), "a program could not read how the errors differ"
    assert float(told["from (95 %), y"][1]) < float(told["to (95 %), y"][1])
    assert "score of cross-validation" not in told
    assert re.fullmatch(
        r"y: for \d+ of 20 samples the other errs less, for \d+ more; .* \(95 %: .* to .*\): the first errs less",
        sentence,
    )
    assert "chain_id" not in told
    with_ids = views.compare_chains(store, ids[0], ids[1], ids=True)
    assert with_ids.rows.filter(pl.col("what") == "chain_id").height == 1
    (why,) = views.compare_chains(store, ids[1], ids[2]).notes
    assert why.startswith("not paired: the chains were judged by different folds")


def test_classes_numbers_and_several_targets_were_refused_where_each_can_be_ranked(store: WorkspaceStore) -> None:
    rng = np.random.default_rng(0)
    X, runner = rng.normal(size=(30, 3)), PipelineRunner(store)
    for y in (X[:, 0], np.where(X[:, 0] > 0, "high", "low"), pl.DataFrame({"protein": X[:, 0], "fat": X[:, 1]})):
        model = LogisticRegression() if getattr(y, "dtype", None) == "<U4" else Ridge()
        runner.run([KFold(2), model], {"X": X, "y": y}, refit=False)
    classes, several, numbers = views.list_rankings(store, views.rank(store, 9))
    assert [own.table["#"].to_list() for own in (several, classes, numbers)] == [[1], [1], [1]]
    assert "RMSECV ±folds" in numbers.table.columns
    assert classes.table["metric"].to_list() == ["balanced_accuracy"]
    assert "R²" not in classes.table.columns
    assert several.notes == ["r2 is the mean over protein, fat; to rank by one, name it as the target (--target)"]
    together = listings.Listing.together([classes, several, numbers]).rows
    assert together["metric"].to_list() == ["balanced_accuracy", "r2", "rmse"]
    of_one = views.list_models(store, views.rank(store, 9, target="fat"), target="fat")
    assert (of_one.table["#"].to_list(), of_one.notes) == ([1], [])
    with pytest.raises(InvalidInputError, match=r"a mean of rmse over protein, fat has no unit"):
        views.rank(store, 9, "rmse")
    (nothing,) = views.list_rankings(store, views.rank(store, 0))
    assert nothing.rows.is_empty()


def test_nobody_was_told_that_no_model_has_learnt_anything(store: WorkspaceStore) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    found = PipelineRunner(store).run([KFold(3), Ridge()], {"X": X, "y": y, "name": "noise"}, refit=False)
    (scores,) = views.held_out(found)["scores"].str.json_decode(
        pl.Struct({"val": pl.Struct({"rmse": pl.Float64, "rpd": pl.Float64})})
    )
    rmsecv, deviation = scores["val"]["rmse"], np.std(y, ddof=1)
    assert rmsecv > deviation
    told = f"no model of noise is better than the mean of y: RMSECV is {rmsecv:.4g}, and the standard deviation of y "
    assert views.list_models(store, views.held_out(found)).notes == [f"{told}{deviation:.4g}"]
    assert views.list_models(store, views.rank(store, 9, "bias")).notes == [], "the first by bias need not be the best"
    PipelineRunner(store).run([KFold(3), Ridge()], {"X": X, "y": X[:, 0], "name": "noise"}, refit=False)
    (better,) = views.list_rankings(store, views.rank(store, 9))
    assert len(better.notes) == 1, "it is said of each ranking by itself"
    guessed = PipelineRunner(store).run([KFold(3), DummyClassifier()], (X, np.where(y > 0, "a", "b")), refit=False)
    assert views.list_models(store, views.held_out(guessed)).notes == [
        "no model of dataset is better than a guess: MCC is 0"
    ]


def test_a_ranking_once_read_all_pipelines_for_its_few_rows(
    store: WorkspaceStore, chain_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline_id = (store.get_chain(chain_id) or {})["pipeline_id"]
    other = add_model(store, "other", 0.3)["pipeline"]
    assert store.list_pipelines(pipeline_ids=[pipeline_id, "none"])["pipeline_id"].to_list() == [pipeline_id]
    assert store.list_pipelines(pipeline_ids=[]).is_empty()
    asked, list_pipelines = [], WorkspaceStore.list_pipelines

    def spy(self: WorkspaceStore, *given: Any, **options: Any) -> pl.DataFrame:
        found = list_pipelines(self, *given, **options)
        asked.append(found["pipeline_id"].to_list())
        return found

    monkeypatch.setattr(WorkspaceStore, "list_pipelines", spy)
    monkeypatch.delattr(WorkspaceStore, "get_pipeline")
    views.list_models(store, views.rank(store, 1, dataset_name="wheat"), limit=1)
    assert asked == [[other]]


def test_runs_once_were_compared_without_the_scores_of_their_best_models(store: WorkspaceStore) -> None:
    X = np.random.default_rng(0).normal(size=(30, 4))
    y = X[:, 0] + X[:, 1]
    runs = []
    for alpha in (1.0, 50.0):
        PipelineRunner(store).run([KFold(3), Ridge(alpha)], (X, y), name=f"alpha {alpha}", refit=False)
        runs.append(store.list_runs(limit=1)["run_id"][0])
    listing = views.compare_runs(store, *runs)
    told = {row["what"]: (row["one"], row["other"]) for row in listing.table.to_dicts()}
    assert told["the best"] == ("Ridge", "Ridge (alpha=50.0)")
    bests = [store.rank_chains(run_id=run_id).rows["rmsecv"][0] for run_id in runs]
    assert told["RMSECV"] == tuple(f"{score:.4g}" for score in bests)
    assert told["name"] == ("alpha 1.0", "alpha 50.0")
    assert "the first errs less" in listing.notes[0]
    assert not {"run_id", "created_at", "owner.pid"} & {*told}
    assert {"run_id", "created_at"} <= {*views.compare_runs(store, *runs, ids=True).table["what"]}
    store.fail_pipeline(store.begin_pipeline(runs[0], "p", {}, [], "wheat", "hash"), "ValueError: no")
    told = {row["what"]: (row["one"], row["other"]) for row in views.compare_runs(store, *runs).table.to_dicts()}
    assert (told["pipelines"], told["failed"]) == (("2", "1"), ("1", "0"))


def test_a_run_by_a_metric_of_which_nobody_knows_what_is_better_could_not_be_shown(store: WorkspaceStore) -> None:
    runs = [add_model(store, name, 0.2, metric="own")["run"] for name in ("one", "other")]
    assert store.run_progress(runs[0]).best is None
    assert views.show(store, "runs", runs[0]).answer == "run one, running: 1 pipeline"
    assert views.compare_runs(store, *runs).table["what"].to_list() == ["pipelines", "name"]
    assert dict(overview_of(store))["last run"].startswith("other, running: 1 pipeline")
