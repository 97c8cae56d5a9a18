"""Chains ranked in one row each, counted by their values, and scores in classes."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit, TimeSeriesSplit, cross_val_predict

from nirs4all_store import InvalidInputError, InvalidTypeError, PipelineRunner, WorkspaceStore
from nirs4all_store.storage import ChainRecord, Prediction, PredictionArrays
from nirs4all_store.storage.columns import table_of
from nirs4all_store.storage.repositories import chain_pages
from nirs4all_store.storage.repositories.prediction_filters import FILTERS
from nirs4all_store.testing.contract import add_pipeline, add_prediction

PREDICTIONS, ARRAYS = table_of(Prediction), table_of(PredictionArrays)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6))
PROTEIN = X[:, 0] + 0.3 * RNG.normal(size=24)
CLASSES = np.where(X[:, 1] > 0, "wheat", "oats")
NEW = {"X_test": X[:9] + 0.01, "y_test": PROTEIN[:9]}
REPEATED = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
MODELS = [{"_or_": [Ridge(0.1), Ridge(100.0), PLSRegression(2)]}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a workspace in which the same models were judged in several ways, some of them twice."""
    folder = tmp_path_factory.mktemp("summaries")
    store = WorkspaceStore(folder)
    PipelineRunner(store).run([KFold(3), *MODELS], {"X": X, "y": PROTEIN, "name": "wheat", **NEW}, name="first")
    PipelineRunner(store).run([KFold(3), *MODELS], {"X": X, "y": PROTEIN, "name": "wheat", **NEW}, name="again")
    PipelineRunner(store).run([REPEATED, Ridge()], (X, PROTEIN), refit=False)
    PipelineRunner(store).run([KFold(3), LogisticRegression()], {"X": X, "y": CLASSES, "name": "grain"}, refit=False)
    both = pl.DataFrame(X, schema=[str(1100 + place) for place in range(6)], orient="row")
    both = both.with_columns(protein=PROTEIN, moisture=X[:, 1])
    targets = ["protein", "moisture"]
    PipelineRunner(store).run([KFold(3), Ridge()], {"X": both, "name": "both"}, target=targets, refit=False)
    store.close()
    return folder


@pytest.fixture
def trained(made: Path) -> Iterator[WorkspaceStore]:
    with WorkspaceStore(made, read_only=True) as store:
        yield store


def chains(store: WorkspaceStore, *given: Any, **wanted: Any) -> list[dict[str, Any]]:
    return store.rank_chains(*given, **wanted).rows.to_dicts()


def test_a_chain_is_one_row_with_scikit_learns_numbers(trained: WorkspaceStore) -> None:
    row = next(row for row in chains(trained, dataset_name="wheat") if row["best_params"] == '{"alpha": 0.1}')
    held_out = cross_val_predict(Ridge(0.1), X, PROTEIN, cv=KFold(3))
    final = Ridge(0.1).fit(X, PROTEIN)
    errors = [np.mean((held_out[rows] - PROTEIN[rows]) ** 2) for _, rows in KFold(3).split(X)]
    rmsecv = root_mean_squared_error(PROTEIN, held_out)
    expected = {
        "score": rmsecv,
        "rmsecv": rmsecv,
        "rmsecv_se": np.std(errors, ddof=1) / np.sqrt(3) / 2 / rmsecv,
        "fold_mean": np.mean(np.sqrt(errors)),
        "fold_sd": np.std(np.sqrt(errors), ddof=1),
        "rmsec": root_mean_squared_error(PROTEIN, final.predict(X)),
        "rmsep": root_mean_squared_error(NEW["y_test"], final.predict(NEW["X_test"])),
        "r2": r2_score(PROTEIN, held_out),
        "rpd": np.std(PROTEIN, ddof=1) / rmsecv,
        "bias": np.mean(held_out - PROTEIN),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    told = {"n_folds": 3, "copies": 2, "has_final": True, "metric": "rmse", "rmsecv_sd": None, "dataset_name": "wheat"}
    assert {name: row[name] for name in told} == told
    assert row["run_name"] == "again", "of equal chains the newest is shown"


def test_of_repeats_the_spread_over_repeats_is_told_and_no_standard_error(trained: WorkspaceStore) -> None:
    (row,) = (row for row in chains(trained) if row["n_folds"] == 6)
    errors = [Ridge().fit(X[fit], PROTEIN[fit]).predict(X[rows]) - PROTEIN[rows] for fit, rows in REPEATED.split(X)]
    repeats = [np.sqrt(np.mean(np.concatenate(errors[at : at + 3]) ** 2)) for at in (0, 3)]
    assert (row["rmsecv"], row["rmsecv_sd"]) == pytest.approx((np.mean(repeats), np.std(repeats, ddof=1)))
    assert row["rmsecv_se"] is None


def test_more_splits_of_the_same_samples_made_the_standard_error_smaller(store: WorkspaceStore) -> None:
    shuffled = [ShuffleSplit(splits, test_size=0.5, random_state=0) for splits in (4, 8)]
    for splitter in (*shuffled, TimeSeriesSplit(3), KFold(3)):
        PipelineRunner(store).run([splitter, Ridge()], (X, PROTEIN), refit=False)
    errors = {row["n_folds"]: row["rmsecv_se"] for row in chains(store) if row["n_folds"] != 3}
    assert errors == {4: None, 8: None}
    once = [row for row in chains(store) if row["n_folds"] == 3]
    for row, splitter in zip(once, (KFold(3), TimeSeriesSplit(3)), strict=True):
        fits = [(Ridge().fit(X[fit], PROTEIN[fit]), rows) for fit, rows in splitter.split(X)]
        squares = [np.mean((model.predict(X[rows]) - PROTEIN[rows]) ** 2) for model, rows in fits]
        assert row["rmsecv_se"] == pytest.approx(np.std(squares, ddof=1) / np.sqrt(3) / 2 / np.sqrt(np.mean(squares)))


@pytest.mark.parametrize("metric", ["rmse", "mse"])
def test_what_the_models_say_of_their_own_samples_was_called_rmsecv(store: WorkspaceStore, metric: str) -> None:
    """nirs4all 0.7 stores for all folds together what the mean of their models predicts of the calibration."""
    _, pipeline_id = add_pipeline(store)
    chain_id = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
    y = np.arange(12.0) ** 1.5
    held_out = [np.arange(12)[fold::3] for fold in range(3)]
    errors = np.cos(np.arange(12))
    for fold, rows in enumerate(held_out):
        mse = float(np.mean(errors[rows] ** 2))
        told = {"chain_id": chain_id, "fold_id": str(fold), "n_samples": len(rows), "metric": metric}
        prediction_id = add_prediction(store, pipeline_id, val_score=mse if metric == "mse" else math.sqrt(mse), **told)
        store.save_prediction_arrays(prediction_id, y[rows], (y + errors)[rows], sample_indices=rows)
    scores = {"val": {"rmse": 0.08, "r2": 0.9999, "rpd": 100.0, "bias": 0.01}}
    told = {
        "chain_id": chain_id,
        "fold_id": "avg",
        "n_samples": 12,
        "val_score": 0.7,
        "scores": scores,
        "metric": metric,
    }
    prediction_id = add_prediction(store, pipeline_id, **told)
    store.save_prediction_arrays(prediction_id, y, y + errors / 9, sample_indices=np.arange(12))
    (row,) = chains(store)
    assert [row[name] for name in ("score", "rmsecv", "r2", "rpd", "bias")] == [0.7, None, None, None, None]
    assert chains(store, "rmse")[0]["score"] == pytest.approx(root_mean_squared_error(y, y + errors))
    assert chains(store, "r2")[0]["score"] == pytest.approx(r2_score(y, y + errors))


def test_a_mean_of_the_folds_that_have_a_score_was_shown_for_all(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    for name, scores in (("some", [0.1, 0.2, math.nan]), ("none", [math.nan] * 3), ("one", [0.1, None, 0.3])):
        chain_id = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
        told = {"chain_id": chain_id, "model_name": name, "scores": None}
        add_prediction(store, pipeline_id, fold_id="avg", val_score=math.nan, **told)
        for fold, score in enumerate(scores):
            add_prediction(store, pipeline_id, fold_id=str(fold), val_score=score, **told)
    nothing = dict.fromkeys(["rmsecv", "rmsecv_se", "fold_mean", "fold_sd"])
    assert [{name: row[name] for name in nothing} for row in chains(store)] == [nothing] * 3
    assert [row["n_folds"] for row in chains(store)] == [3] * 3


@pytest.mark.parametrize("rank_by", [None, "r2", "rmse", "bias", "rpd", "accuracy", "mcc"])
def test_chains_are_ranked_as_their_predictions_are(trained: WorkspaceStore, rank_by: str | None) -> None:
    one_target, metric = ["wheat", "dataset", "grain"], rank_by or "val_score"
    tops = (trained.top_predictions(20, metric, fold_id="avg", once=True, dataset_name=name) for name in one_target)
    expected = pl.concat(tops)
    found = trained.rank_chains(rank_by, dataset_name=one_target).rows
    assert found.height == expected.height > 0
    by_chain = dict(expected.select("chain_id", "rank").iter_rows())
    copies = found.filter(~pl.col("chain_id").is_in([*by_chain]))
    assert copies["copies"].to_list() == [2] * copies.height, "of equal ones another one may be shown"
    assert sorted(found["score"]) == pytest.approx(sorted(expected["score"]))
    assert sorted(found["rank"]) == sorted(expected["rank"])
    for _, league in found.group_by("dataset_name", "metric", "judged_by", maintain_order=True):
        assert league["rank"].to_list() == [*range(1, league.height + 1)]


def test_chains_are_ranked_by_what_their_final_models_come_to(trained: WorkspaceStore) -> None:
    found = trained.rank_chains("rmsep", dataset_name="wheat").rows
    finals = [model.fit(X, PROTEIN).predict(NEW["X_test"]) for model in (Ridge(0.1), Ridge(100.0), PLSRegression(2))]
    errors = sorted(root_mean_squared_error(NEW["y_test"], np.ravel(predicted)) for predicted in finals)
    assert found["score"].to_list() == found["rmsep"].to_list() == pytest.approx(errors)
    assert found["has_final"].all()


def test_copies_are_one_row_or_all_are_asked_for(trained: WorkspaceStore) -> None:
    assert trained.rank_chains(dataset_name="wheat").total == 3
    all_of_them = trained.rank_chains(dataset_name="wheat", copies=True)
    assert (all_of_them.total, all_of_them.rows["copies"].to_list()) == (6, [2] * 6)


def recorded(store: WorkspaceStore, run_id: str, config: Any, score: float = 0.5, strategy: str = "none") -> str:
    pipeline_id = store.begin_pipeline(run_id, "own code", config, [], "wheat", "")
    chain_id = store.save_chain(pipeline_id, [], 0, "PLS", "", strategy, {}, {})
    add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", val_score=score)
    return chain_id


def shown(store: WorkspaceStore) -> list[list[str]]:
    return [rows["chain_id"].to_list() for rows in (store.rank_chains().rows, store.top_predictions(9, once=True))]


@pytest.mark.parametrize("config", [{}, [], None], ids=str)
def test_models_that_ones_own_code_recorded_were_taken_for_copies_of_one(store: WorkspaceStore, config: Any) -> None:
    run_id = store.begin_run("first")
    ids = [recorded(store, run_id, config, score) for score in (0.1, 0.2, 0.3)]
    assert shown(store) == [ids, ids]
    assert store.rank_chains().rows["copies"].to_list() == [1, 1, 1]


def test_of_equal_models_each_ranking_showed_another_one(store: WorkspaceStore) -> None:
    run_id = store.begin_run("run")
    ids = [recorded(store, run_id, [{"class": "PLS"}]) for _ in range(3)]
    assert shown(store) == [ids[2:], ids[2:]], "the newest"


def test_a_model_that_was_pruned_hid_its_copy_that_can_predict(store: WorkspaceStore) -> None:
    run_id = store.begin_run("run")
    kept, _ = (
        recorded(store, run_id, [{"class": "PLS"}]),
        recorded(store, run_id, [{"class": "PLS"}], 0.5, "score_only"),
    )
    assert shown(store) == [[kept], [kept]]
    better = recorded(store, run_id, [{"class": "PLS"}], 0.4, "score_only")
    assert shown(store) == [[better], [better]], "only among equal ones"


def test_pages_follow_one_another_and_none_is_lost_where_chains_come_and_go(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)

    def add(score: float) -> str:
        chain_id = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
        add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", val_score=score, model_name=f"m{score}")
        return chain_id

    ids = [add(score) for score in (1.0, 2.0, 3.0, 4.0, 5.0)]
    first = store.rank_chains(limit=2)
    assert (first.rows["chain_id"].to_list(), first.total) == (ids[:2], 5)
    add(0.5)
    second = store.rank_chains(limit=2, after=first.next)
    assert (second.rows["chain_id"].to_list(), second.total) == (ids[2:4], 6)
    last = store.rank_chains(limit=2, after=second.next)
    assert (last.rows["chain_id"].to_list(), last.next) == (ids[4:], None)
    with pytest.raises(InvalidInputError, match="is no page"):
        store.rank_chains(after="second")


def leave(store: WorkspaceStore, chain_ids: Sequence[str]) -> None:
    for chain_id in chain_ids:
        store.delete_pipeline((store.get_chain(chain_id) or {})["pipeline_id"])


@pytest.mark.parametrize("gone", [slice(4, 5), slice(0, 5), slice(0, 1), slice(5, 12)], ids=str)
def test_a_page_skipped_rows_where_those_before_it_were_deleted(store: WorkspaceStore, gone: slice) -> None:
    run_id = store.begin_run("run")
    ids = [recorded(store, run_id, [{"k": k}], float(k)) for k in range(12)]
    first = store.rank_chains(limit=5)
    leave(store, ids[gone])
    second = store.rank_chains(limit=5, after=first.next)
    assert second.rows["chain_id"].to_list() == [chain_id for chain_id in ids[5:10] if chain_id not in ids[gone]]
    assert second.total == 12 - len(ids[gone])


def test_a_page_showed_rows_again_where_the_last_one_was_trained_again(store: WorkspaceStore) -> None:
    run_id = store.begin_run("run")
    ids = [recorded(store, run_id, [{"k": k}], float(k)) for k in range(6)]
    pages = [store.rank_chains(limit=3, copies=copies) for copies in (False, True)]
    again = recorded(store, run_id, [{"k": 2}], 2.0)
    for k, score in ((7, 0.1), (8, 0.2)):
        recorded(store, run_id, [{"k": k}], score)
    assert store.rank_chains(after=pages[0].next).rows["chain_id"].to_list() == ids[3:]
    assert store.rank_chains(after=pages[1].next, copies=True).rows["chain_id"].to_list() == [again, *ids[3:]]


def test_a_page_that_ends_without_scores_goes_on_among_those_and_with_another_ranking(store: WorkspaceStore) -> None:
    run_id = store.begin_run("run")
    _, pipeline_id = add_pipeline(store)
    older = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
    add_prediction(store, pipeline_id, chain_id=older, fold_id="avg", val_score=0.1, metric="mae")
    ids = [recorded(store, run_id, [{"k": k}], score) for k, score in enumerate((0.2, math.nan, math.nan, math.nan))]
    after, found = None, []
    for limit in (1, 1, 1, 1, 1):
        page = store.rank_chains(limit=limit, after=after)
        found += page.rows["chain_id"].to_list()
        after = page.next
    assert (found, after) == ([*ids, older], None)


def test_a_page_of_another_question_was_taken(store: WorkspaceStore) -> None:
    run_id = store.begin_run("run")
    for k in range(4):
        recorded(store, run_id, [{"k": k}], float(k))
    after = store.rank_chains(limit=2, metric="rmse").next
    others: list[dict[str, Any]] = [{}, {"metric": "rmse", "ascending": False}, {"metric": ["rmse", "r2"]}]
    for asked in (*others, {"metric": "rmse", "search": "a"}, {"metric": "rmse", "copies": True}):
        with pytest.raises(InvalidInputError, match="after= is of another ranking; ask as for the page before"):
            store.rank_chains(after=after, **asked)
    assert store.rank_chains(after=after, metric="rmse", limit=1).rows.height == 1


def test_a_chain_without_a_row_of_all_folds_has_no_score_and_comes_last(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    ids = [store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {}) for _ in range(3)]
    for fold, score in (("0", 0.1), ("1", 0.3)):
        add_prediction(store, pipeline_id, chain_id=ids[0], fold_id=fold, val_score=score)
    for score in (0.4, 0.2):  # Saved twice, as an import may.
        add_prediction(store, pipeline_id, chain_id=ids[1], fold_id="avg", val_score=score, model_name="twice")
    add_prediction(store, pipeline_id, fold_id="avg", val_score=0.0)
    found = chains(store)
    assert [row["chain_id"] for row in found] == [ids[1], ids[0]]
    assert [(row["score"], row["fold_mean"]) for row in found] == [(0.2, None), (None, pytest.approx(0.2))]


def test_a_refit_of_a_chain_stands_beside_it(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    chain_id = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
    told = {"pipeline_id": pipeline_id, "steps": [], "model_step_idx": 0, "model_class": "Ridge", "refit_of": chain_id}
    with store.unit_of_work() as uow:
        refit = uow.chains.add(ChainRecord.of(told))
        uow.commit()
    add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", val_score=0.5)
    final = {"fold_id": "final", "partition": "test", "val_score": None, "scores": {"test": {"rmse": 0.7}}}
    add_prediction(store, pipeline_id, chain_id=refit, **final)
    (row,) = chains(store)
    assert (row["chain_id"], row["rmsep"], row["has_final"]) == (chain_id, 0.7, True)


def test_chains_that_were_judged_by_a_bias_could_not_be_ranked(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    for bias in (-0.3, 0.1, 0.2):
        chain_id = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
        told = {"fold_id": "avg", "metric": "bias", "model_name": str(bias)}
        add_prediction(store, pipeline_id, chain_id=chain_id, val_score=bias, **told)
    assert [row["score"] for row in chains(store)] == [0.1, 0.2, -0.3]


def test_a_model_that_predicts_nothing_of_some_samples_is_ranked_last(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    for name, scores in (("a", {"rmse": 0.1, "n_unpredicted": 2}), ("b", {"rmse": 0.9}), ("c", {"rmse": 0.5})):
        chain_id = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
        add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", model_name=name, scores={"val": scores})
    assert [row["model_name"] for row in chains(store, "rmse")] == ["c", "b", "a"]


def test_scores_that_were_not_stored_came_last_and_are_computed_from_arrays(store: WorkspaceStore) -> None:
    PipelineRunner(store).run([KFold(3), {"_or_": [Ridge(0.1), Ridge(100.0)]}], (X, PROTEIN), refit=False)
    PipelineRunner(store).run([REPEATED, Ridge()], (X, PROTEIN), refit=False)
    stored = chains(store, "rpd")
    best = next(row["chain_id"] for row in stored if row["best_params"] == '{"alpha": 0.1}')
    with store.unit_of_work() as uow:
        uow.session.execute(PREDICTIONS.update().where(PREDICTIONS.c.chain_id != best).values(scores=None))
        uow.commit()
    found = chains(store, "rpd")
    assert [(row["chain_id"], row["rank"]) for row in found] == [(row["chain_id"], row["rank"]) for row in stored]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in stored])
    page = store.rank_chains("rpd", limit=2)
    assert store.rank_chains("rpd", after=page.next).rows["chain_id"].to_list() == [found[2]["chain_id"]]
    with store.unit_of_work() as uow:
        uow.session.execute(ARRAYS.delete())
        uow.commit()
    assert [row["score"] is None for row in chains(store, "rpd")] == [row["chain_id"] != best for row in found]


def test_scores_of_other_packages_were_taken_for_ours(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    for name, error, told in (("good", 0.1, 0.2), ("poor", 2.0, 99.0)):
        chain_id = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
        for fold, partition in (("avg", "val"), ("final", "test")):
            given = {"fold_id": fold, "partition": partition, "scores": {partition: {"rpd": told}}}
            prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id, model_name=name, **given)
            store.save_prediction_arrays(prediction_id, PROTEIN, PROTEIN + error)
    for fold, partition in (("avg", "val"), ("final", "test")):
        expected = store.top_predictions(9, "rpd", fold_id=fold, partition=partition)
        found = store.rank_chains("rpd", partition=partition).rows
        assert found["model_name"].to_list() == expected["model_name"].to_list() == ["good", "poor"]
        assert found["score"].to_list() == expected["score"].to_list()


def test_a_target_has_its_own_scores_and_a_mean_of_units_is_refused(trained: WorkspaceStore) -> None:
    with pytest.raises(InvalidInputError, match="a mean of rmse over protein, moisture has no unit; name one"):
        trained.rank_chains("rmse")
    found = {}
    for target, y in (("protein", PROTEIN), ("moisture", X[:, 1])):
        (row,) = chains(trained, "rmse", target=target, dataset_name="both")
        held_out = cross_val_predict(Ridge(), X, y, cv=KFold(3))
        found[target] = row["score"]
        assert (row["score"], row["r2"]) == pytest.approx((root_mean_squared_error(y, held_out), r2_score(y, held_out)))
    assert found["protein"] != found["moisture"]
    assert chains(trained, target="fat") == []


@pytest.mark.parametrize(("rank_by", "score"), [(None, root_mean_squared_error), ("r2", r2_score)])
def test_beside_the_scores_of_a_target_stood_those_of_all(
    trained: WorkspaceStore, rank_by: str | None, score: Any
) -> None:
    (row,) = chains(trained, rank_by, target="moisture", dataset_name="both")
    y = X[:, 1]
    fits = [(Ridge().fit(X[fit], y[fit]), fit, rows) for fit, rows in KFold(3).split(X)]
    folds = [score(y[rows], model.predict(X[rows])) for model, _, rows in fits]
    assert (row["fold_mean"], row["fold_sd"]) == pytest.approx((np.mean(folds), np.std(folds, ddof=1)))
    assert row["val_score"] == row["score"] == pytest.approx(score(y, cross_val_predict(Ridge(), X, y, cv=KFold(3))))
    seen = np.sum([np.where(np.isin(range(24), fit), model.predict(X), 0) for model, fit, _ in fits], axis=0) / 2
    assert row["train_score"] == pytest.approx(score(y, seen))
    assert (row["rmsecv_se"] is None) == (rank_by == "r2")


def test_words_are_searched_in_any_case_and_have_no_wildcards(trained: WorkspaceStore) -> None:
    assert {row["model_name"] for row in chains(trained, search="plsregression AGAIN")} == {"PLSRegression"}
    assert chains(trained, search="pls%gression") == []
    assert [row["model_name"] for row in chains(trained, search="alpha 100 wheat")] == ["Ridge"]


def test_a_question_is_compiled_once_and_answered_for_its_own_values(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    ids = [store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {}) for _ in range(3)]
    for chain_id, name in zip(ids, ("a/b_50%", "a/bc50%", "a.b_50d"), strict=True):
        add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", model_name=name)
    for chain_id, name in zip(ids, ("A/B_5", "A/BC", "50D"), strict=True):
        assert [row["chain_id"] for row in chains(store, search=name)] == [chain_id]
        assert [row["chain_id"] for row in chains(store, chain_id=chain_id)] == [chain_id]
    made = chain_pages.page.cache_info().misses
    assert {row["chain_id"] for row in chains(store, chain_id=ids[1:])} == {*ids[1:]}
    assert {row["chain_id"] for row in chains(store, chain_id=ids[:2])} == {*ids[:2]}
    assert chain_pages.page.cache_info().misses == made + 1


def test_filters_take_one_value_or_several(trained: WorkspaceStore) -> None:
    runs = trained.list_runs()["run_id"].to_list()
    assert {row["run_id"] for row in chains(trained, run_id=runs[:2])} == set(runs[:2])
    several = {"fold_id": ["avg", 0], "partition": "val"}
    assert trained.count_predictions(**several) == trained.query_predictions(**several).height > 0
    assert trained.query_predictions(chain_id=[]).is_empty()
    tasks = trained.distinct("task_type", dataset_name="grain")
    classes = trained.query_predictions(task_type=tasks, metric=["balanced_accuracy", "rmse"])
    assert set(classes["model_name"]) == {"LogisticRegression"}
    assert set(trained.query_predictions(refit_context="standalone")["fold_id"]) == {"final"}
    some = trained.query_predictions(model_class=["%Ridge", "%PLS%"])
    assert set(some["model_name"]) == {"Ridge", "PLSRegression"}
    chain_id = trained.query_predictions(limit=1)["chain_id"].item()
    assert set(trained.query_predictions(chain_id=chain_id)["chain_id"]) == {chain_id}
    with pytest.raises(InvalidInputError, match="None among its values"):
        trained.query_predictions(run_id=[None])
    with pytest.raises(InvalidTypeError, match="one value or a list"):
        trained.query_predictions(run_id={"a": 1})
    with pytest.raises(InvalidTypeError, match="there is no filter colour"):
        trained.count_predictions(colour="red")
    for columns in ([], ["fold_id"]):
        with pytest.raises(InvalidInputError, match="chains are not counted by"):
            trained.facets(columns)
    with pytest.raises(InvalidInputError, match="chains have no partition"):
        trained.facets(partition="val")


def test_predictions_could_not_be_asked_for_by_the_name_of_their_model(trained: WorkspaceStore) -> None:
    (chain,) = chains(trained, dataset_name="grain")
    for name in FILTERS:  # All queries take the same.
        value = trained.query_predictions(chain_id=chain["chain_id"]).to_dicts()[0].get(name) or chain.get(name)
        asked = {name: value}
        assert trained.query_predictions(**asked).height == trained.count_predictions(**asked) > 0


def test_values_are_listed_and_counted_with_their_best_scores(trained: WorkspaceStore) -> None:
    assert trained.distinct("dataset_name") == ["both", "dataset", "grain", "wheat"]
    (grain,) = chains(trained, dataset_name="grain")
    assert trained.distinct("run_id", dataset_name="grain") == [grain["run_id"]]
    found = trained.facets(["model_name", "dataset_name"], dataset_name=["wheat", "grain"])
    rows = {(row["column"], row["value"]): row for row in found.to_dicts()}
    best = {row["model_name"]: row["score"] for row in reversed(chains(trained, dataset_name="wheat"))}
    assert rows["model_name", "Ridge"]["best"] == pytest.approx(best["Ridge"])
    counts = {"Ridge": 2, "PLSRegression": 1, "LogisticRegression": 1}
    assert {name: rows["model_name", name]["chains"] for name in counts} == counts
    everything = trained.facets(["task_type"]).filter(value="regression")
    assert everything.select("best", "median").row(0) == (None, None), "they are not ranked together"


def test_copies_were_counted_that_the_ranking_does_not_show(trained: WorkspaceStore) -> None:
    total = trained.rank_chains(dataset_name="wheat").total
    assert trained.facets(["dataset_name"], dataset_name="wheat")["chains"].to_list() == [total]
    assert trained.score_histogram(dataset_name="wheat")["chains"].sum() == total
    runs = trained.facets(["run_id"], dataset_name="wheat")
    for run_id, count in runs.select("value", "chains").iter_rows():
        assert count == trained.rank_chains(run_id=run_id).total, "in each run they are no copies"


def test_scores_that_are_not_ranked_together_were_in_one_class(trained: WorkspaceStore) -> None:
    found = trained.score_histogram(bins=3)
    ranked = trained.rank_chains(copies=True).rows
    leagues = ranked.group_by("dataset_name", "metric", "judged_by", maintain_order=True).agg(pl.col("score"))
    own = found.group_by("ranking", "dataset_name", "metric", maintain_order=True)
    ends = own.agg(pl.col("lower").min(), pl.col("upper").max())
    assert ends["ranking"].to_list() == [*range(1, leagues.height + 1)]
    assert ends.select("dataset_name", "metric").equals(leagues.select("dataset_name", "metric"))
    assert ends["lower"].to_list() == pytest.approx(leagues["score"].list.min().to_list())
    assert ends["upper"].to_list() == pytest.approx(leagues["score"].list.max().to_list())


def test_what_refuses_a_mean_over_targets_took_no_target(trained: WorkspaceStore) -> None:
    asks = [
        lambda **asked: trained.score_histogram("rmse", **asked)["lower"],
        lambda **asked: trained.parameter_profile("alpha", rank_by="rmse", **asked)["best"],
        lambda **asked: trained.facets(["model_name"], rank_by="rmse", **asked)["best"],
    ]
    score = trained.rank_chains("rmse", target="protein", dataset_name="both").rows["score"].item()
    for ask in asks:
        with pytest.raises(InvalidInputError, match="name one of them with target="):
            ask(dataset_name="both")
        assert ask(dataset_name="both", target="protein").to_list() in ([score], [])


def test_scores_in_classes_are_all_chains(trained: WorkspaceStore) -> None:
    scores = trained.rank_chains(dataset_name="wheat").rows["score"].to_numpy()
    counts, ends = np.histogram(scores, bins=4)
    found = trained.score_histogram(dataset_name="wheat", bins=4)
    assert found["chains"].to_list() == [count for count in counts.tolist() if count]
    assert found["lower"].to_list() == pytest.approx(ends[:-1][counts > 0])
    one = trained.score_histogram(dataset_name="grain")
    assert (one.height, one["chains"].sum(), one["lower"].item()) == (1, 1, one["upper"].item())
    assert trained.score_histogram(dataset_name="nothing").is_empty()


def test_a_parameter_has_its_best_and_median_score_by_value(trained: WorkspaceStore) -> None:
    found = trained.parameter_profile("alpha", dataset_name="wheat")
    ranked = chains(trained, dataset_name="wheat")
    scores = {json.loads(row["best_params"]).get("alpha"): row["score"] for row in ranked}
    assert found["value"].to_list() == ["0.1", "100.0"]
    assert found["best"].to_list() == pytest.approx([scores[0.1], scores[100.0]])
    assert found["chains"].to_list() == [1, 1]
    assert trained.parameter_profile("n_trees").is_empty()


def test_what_nobody_can_rank_by_is_refused(trained: WorkspaceStore, store: WorkspaceStore) -> None:
    with pytest.raises(InvalidInputError, match="metric 'speed' is no score"):
        trained.rank_chains("speed")
    with pytest.raises(InvalidInputError, match="partition 'new' is none"):
        trained.rank_chains(partition="new")
    _, pipeline_id = add_pipeline(store)
    chain_id = store.save_chain(pipeline_id, [], 0, "Ridge", "", "none", {}, {})
    add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", metric="speed")
    with pytest.raises(InvalidInputError, match="whether a lower 'speed' is better is not known"):
        store.rank_chains()
    assert chains(store, ascending=True)[0]["score"] == 0.5
