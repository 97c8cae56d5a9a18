"""Chains compared, how far a run is, what was logged since, whether something was changed, and with what versions."""

import platform
from importlib.metadata import version

import numpy as np
import polars as pl
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, ShuffleSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from nirs4all_store import InvalidInputError, NotFoundError, PipelineRunner, StoreClosedError, WorkspaceStore
from nirs4all_store.chains import Compared, compare
from nirs4all_store.storage import Artifact, UnitOfWork
from nirs4all_store.storage.columns import table_of
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

ARTIFACTS = table_of(Artifact)
SHUFFLED = ShuffleSplit(n_splits=5, test_size=0.2, random_state=0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6))
Y = X[:, 0] + 0.5 * RNG.normal(size=24)


def chains_of(store: WorkspaceStore, *configs: list[object], data: object = (X, Y)) -> list[str]:
    return [PipelineRunner(store).run(config, data, refit=False)["chain_id"][0] for config in configs]


def test_errors_for_the_same_samples_are_compared_in_pairs(store: WorkspaceStore) -> None:
    ids = chains_of(store, [KFold(3), StandardScaler(), Ridge(1.0)], [KFold(3), PLSRegression(1)])
    found = store.compare_chains(ids)
    models = (PLSRegression(1), make_pipeline(StandardScaler(), Ridge(1.0)))
    pls, scaled = (np.abs(np.ravel(cross_val_predict(model, X, Y, cv=KFold(3))) - Y) for model in models)
    assert found.paired is not None and found.not_paired is None
    (row,) = found.paired.to_dicts()
    assert (row["chain_id"], row["target"], row["n"]) == (ids[1], "y", 24)
    expected = [np.mean(scaled), np.mean(pls), np.mean(pls - scaled)]
    assert [row["first"], row["other"], row["difference"]] == pytest.approx(expected)
    assert (row["n_better"], row["n_worse"]) == ((pls < scaled).sum(), (pls > scaled).sum())
    assert row["lower"] < row["difference"] < row["upper"]
    error = np.std(pls - scaled, ddof=1) / np.sqrt(24)
    assert (row["upper"] - row["lower"]) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert store.compare_chains(ids).paired.equals(found.paired), "the same each time"  # type: ignore[union-attr]  # It was one.


def test_chains_to_compare_were_read_twice_and_each_at_another_moment(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = chains_of(store, [KFold(3), Ridge(1.0)], [KFold(3), Ridge(2.0)])
    entered: list[UnitOfWork] = []
    enter = UnitOfWork.__enter__
    monkeypatch.setattr(UnitOfWork, "__enter__", lambda uow: entered.append(uow) or enter(uow))
    store.compare_chains(ids)
    assert len(entered) == 2, "one for all rows, one for the samples on which both were trained"


def test_chains_are_compared_by_steps_scores_and_folds(store: WorkspaceStore) -> None:
    ids = chains_of(
        store,
        [KFold(3), StandardScaler(), Ridge(1.0)],
        [KFold(3), Ridge(1.0)],
        [KFold(3), StandardScaler(with_std=False), Ridge(2.0)],
    )
    found = store.compare_chains(ids)
    assert found.scores["chain_id"].to_list() == ids
    assert found.steps.rows() == [
        (ids[1], 2, "StandardScaler()", None),
        (ids[2], 2, "StandardScaler()", "StandardScaler(with_std=False)"),
        (ids[2], 3, "Ridge()", "Ridge(alpha=2.0)"),
    ]
    assert found.folds["fold_id"].to_list() == ["0", "1", "2"]
    for chain_id in ids:
        rows = store.query_predictions(chain_id=chain_id, partition="val", fold_id=["0", "1", "2"]).sort("fold_id")
        assert found.folds[chain_id].to_list() == rows["val_score"].to_list()


def test_what_was_judged_by_other_folds_or_data_is_not_paired(store: WorkspaceStore) -> None:
    three, four = chains_of(store, [KFold(3), Ridge()], [KFold(4), Ridge()])
    (other,) = chains_of(store, [KFold(3), Ridge()], data=(X, Y + 1))
    assert store.compare_chains([three, four]).not_paired == (
        "not paired: the chains were judged by different folds, or these are not known"
    )
    found = store.compare_chains([three, other])
    assert (found.paired, found.not_paired) == (None, "not paired: the chains were trained on different data")


def test_chains_of_one_calibration_with_other_test_sets_once_were_no_pair(store: WorkspaceStore) -> None:
    labels = np.where(Y > 0, "high", "low")
    for y, model, is_paired in ((Y, Ridge(), True), (labels, LogisticRegression(), False)):
        tested = ({"X": X, "y": y, "X_test": X[:count], "y_test": y[:count]} for count in (5, 6))
        first, other = (chains_of(store, [KFold(3), model], data=data)[0] for data in tested)
        found = store.compare_chains([first, other])
        assert found.scores["dataset_id"].n_unique() == 2
        assert (found.not_paired is None) == is_paired, "other data may have the same labels"
        if found.paired is not None:
            assert found.paired.select("n", "difference").rows() == [(24, 0.0)]


def test_scans_of_one_sample_are_one_pair_and_classes_are_right_or_wrong(store: WorkspaceStore) -> None:
    classes = np.where(X[:, 1] > 0, "wheat", "oats")
    names, lots = np.repeat(np.arange(12), 2).astype(str), np.repeat(np.arange(12), 2)
    table = pl.DataFrame(X, schema=[str(1100 + place) for place in range(6)], orient="row")
    data = {"X": table.with_columns(grain=pl.Series(classes), name=names, lot=lots), "groups": "lot", "sample": "name"}
    models = (LogisticRegression(), LogisticRegression(C=1e-4))
    ids = [
        PipelineRunner(store).run([GroupKFold(3), model], data, target="grain", refit=False)["chain_id"][0]
        for model in models
    ]
    found = store.compare_chains(ids).paired
    assert found is not None
    (row,) = found.to_dicts()
    first, other = (cross_val_predict(model, X, classes, cv=GroupKFold(3), groups=lots) != classes for model in models)
    assert (row["target"], row["n"]) == ("grain", 12)
    assert (row["first"], row["other"]) == pytest.approx((first.mean(), other.mean()))


@pytest.mark.parametrize("splitter", [RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), SHUFFLED], ids=str)
def test_errors_in_pairs_were_those_of_the_mean_over_repeats(store: WorkspaceStore, splitter: object) -> None:
    models = [Ridge(1.0), DecisionTreeRegressor(random_state=0)]
    ids = chains_of(store, *([splitter, model] for model in models))
    found = store.compare_chains(ids).paired
    assert found is not None
    (row,) = found.to_dicts()
    stored = [store.rank_chains("mae", chain_id=chain_id).rows["score"].item() for chain_id in ids]
    assert (row["first"], row["other"]) == pytest.approx(tuple(stored))
    assert row["difference"] == pytest.approx(stored[1] - stored[0])
    assert row["lower"] < row["difference"] < row["upper"]
    assert row["n"] == len({place for _, held_out in splitter.split(X) for place in held_out})  # type: ignore[attr-defined]  # Both have it.


def test_two_empty_references_made_all_differences_nan(store: WorkspaceStore) -> None:
    fat = X[:, 1].copy()
    fat[:2] = np.nan
    table = pl.DataFrame(X, schema=[str(1100 + place) for place in range(6)], orient="row")
    data = {"X": table.with_columns(protein=Y, fat=fat)}
    runs = [
        PipelineRunner(store).run([KFold(3), Ridge(alpha)], data, target=["protein", "fat"], refit=False)
        for alpha in (1.0, 9.0)
    ]
    found = store.compare_chains([run["chain_id"][0] for run in runs]).paired
    assert found is not None
    assert found["n"].to_list() == [24, 22]
    assert not any(found[name].is_nan().any() for name in ("first", "other", "difference", "lower", "upper"))


@pytest.mark.parametrize(
    ("predicted", "n"), [([1.0, np.nan, 4.0, 4.5], 3), ([2.0, 3.0, 4.0, 5.0], 4), ([np.nan] * 4, 0)]
)
def test_a_prediction_of_nan_made_all_differences_nan(predicted: list[float], n: int) -> None:
    chain = {"chain_id": "a", "steps": []}
    known = {"task_type": "regression"}

    def compared(values: list[float]) -> Compared:
        rows = pl.DataFrame({"row": range(4), "fold_id": ["avg"] * 4, "y_true": [1.0, 2.0, 3.0, 4.0], "y_pred": values})
        return Compared(chain, {}, [known], None, rows)

    scores = pl.DataFrame({"dataset_id": ["d", "d"], "judged_by": ['{"folds": "f"}'] * 2})
    found = compare(scores, [compared([1.0, 2.0, 3.0, 4.0]), compared(predicted)]).paired
    assert found is not None and found.height == (n > 0), "no sample has both errors"
    for row in found.to_dicts():
        assert (row["n"], row["difference"]) == (
            n,
            pytest.approx(np.nanmean(np.abs(np.subtract(predicted, range(1, 5))))),
        )
        assert (row["lower"] is None) == (n == 4), "where all differ as much there is no interval"


def test_what_cannot_be_compared_is_refused(store: WorkspaceStore) -> None:
    (chain_id,) = chains_of(store, [KFold(3), Ridge()])
    for ids in ([chain_id], [chain_id, chain_id], []):
        with pytest.raises(InvalidInputError, match="give two or more different ones"):
            store.compare_chains(ids)
    with pytest.raises(NotFoundError, match="there is no chain 'x'"):
        store.compare_chains([chain_id, "x"])
    _, pipeline_id = add_pipeline(store)
    with pytest.raises(NotFoundError, match="has no predictions to compare"):
        store.compare_chains([chain_id, add_chain(store, pipeline_id)])


def test_a_run_tells_how_far_it_is_and_why_pipelines_failed(store: WorkspaceStore) -> None:
    run_id = store.begin_run("sweep", {"n_pipelines": 9})
    names = [store.begin_pipeline(run_id, name, {}, [], "wheat", "hash") for name in "abcde"]
    for number, pipeline_id in enumerate(names[:3]):
        store.fail_pipeline(pipeline_id, f"Traceback\n  line 7\nValueError: upper bound is 16. Got {17 + number}\n")
    chain_id = store.save_chain(names[3], [], 0, "Ridge", "", "none", {}, {})
    add_prediction(store, names[3], chain_id=chain_id, fold_id="avg", val_score=0.4)
    store.complete_pipeline(names[3], 0.4, None, "rmse", 10)
    found = store.run_progress(run_id)
    assert (found.name, found.status, found.planned) == ("sweep", "running", 9)
    assert found.counts == {"completed": 1, "failed": 3, "running": 1}
    assert found.failures.rows() == [("ValueError: upper bound is 16. Got 17", 3, names[0])]
    assert found.seconds_left is not None and found.seconds_left > 0
    assert found.best is not None and found.best["chain_id"] == chain_id
    store.complete_run(run_id, {})
    assert store.run_progress(run_id).seconds_left == 0
    unknown = store.begin_run("by hand")
    assert (store.run_progress(unknown).planned, store.run_progress(unknown).best) == (None, None)
    with pytest.raises(NotFoundError, match="there is no run 'x'"):
        store.run_progress("x")


def test_a_run_of_the_runner_says_how_many_pipelines_it_is_to_have(store: WorkspaceStore) -> None:
    runner = PipelineRunner(store)
    runner.run([KFold(3), {"_or_": [Ridge(1.0), Ridge(2.0)]}], (X, Y), refit=False)
    assert store.run_progress(str(runner.run_id)).planned == 2
    runner.run([KFold(3), {"_or_": [Ridge(2.0), Ridge(3.0)]}], (X, Y), refit=False, resume=True)
    assert store.run_progress(str(runner.run_id)).counts == {"completed": 1}, "what was trained before is not again"


def test_what_was_logged_since_comes_once(store: WorkspaceStore) -> None:
    run_id = store.begin_run("run")
    pipelines = [store.begin_pipeline(run_id, name, {}, [], "wheat", "hash") for name in "ab"]
    for place in range(4):
        store.log_step(pipelines[place % 2], place, "PLS", "end", 1.0, f"step {place}")
    seen, last = [], None
    while (found := store.logs_since(run_id, last, limit=3)).height:
        seen += found.select("message", "pipeline_name").rows()
        last = found["log_id"][-1]
    assert seen == [("step 0", "a"), ("step 1", "b"), ("step 2", "a"), ("step 3", "b")]
    store.log_step(pipelines[0], 4, "PLS", "end", 1.0, "late")
    assert store.logs_since(run_id, last)["message"].to_list() == ["late"]
    assert store.logs_since(run_id, "no id").height == 5, "nobody can tell when that was"


def test_a_tail_of_a_run_that_is_not_there_waited_for_ever(store: WorkspaceStore) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'another'; see list_runs"):
        store.logs_since("another")


def test_a_tail_stopped_once_its_last_line_was_deleted(store: WorkspaceStore) -> None:
    run_id = store.begin_run("run")
    pipelines = [store.begin_pipeline(run_id, name, {}, [], "wheat", "hash") for name in "ab"]
    for place in range(6):
        store.log_step(pipelines[place % 2], place, "PLS", "end", 1.0, f"step {place}")
    last = store.logs_since(run_id, limit=4)["log_id"][-1]
    store.delete_pipeline(pipelines[1])
    assert store.logs_since(run_id, last)["message"].to_list() == ["step 4"]


@pytest.mark.parametrize("where", ["memory", pytest.param("folder", marks=pytest.mark.in_a_folder)])
def test_a_token_is_another_one_once_something_was_changed(store: WorkspaceStore, where: str) -> None:
    tokens = [store.change_token()]
    run_id = store.begin_run("run")
    tokens.append(store.change_token())
    store.complete_run(run_id, {})
    tokens.append(store.change_token())
    store.list_runs()
    assert store.change_token() == tokens[-1], "who looks changes nothing"
    store.delete_run(run_id)
    assert len({*tokens, store.change_token()}) == 4
    store.close()
    with pytest.raises(StoreClosedError):
        store.change_token()


def test_a_chain_tells_with_what_it_was_made(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    found = {row["package"]: row for row in store.environment(chain_id).to_dicts()}
    assert next(iter(found)) == "python"
    assert found["python"]["then"] == found["python"]["now"] == platform.python_version()
    assert found["sklearn"]["now"] == version("scikit-learn")
    assert all(row["is_same"] for row in found.values())
    with store.unit_of_work() as uow:
        row = next(iter(uow.artifacts.all()))
        uow.session.execute(
            ARTIFACTS.update()
            .where(ARTIFACTS.c.artifact_id == row["artifact_id"])
            .values(provenance={"python": "3.1", "packages": {"numpy": "1.0", "gone": "2.0"}})
        )
        uow.commit()
    changed = {row["package"]: row for row in store.environment(chain_id).to_dicts()}
    assert (changed["gone"]["now"], changed["gone"]["is_same"], changed["python"]["is_same"]) == (None, False, False)
    assert changed["numpy"]["then"].startswith("1.0")
    with pytest.raises(NotFoundError, match="there is no chain"):
        store.environment("x")
