"""Whatever stands in a row, every call answers or refuses in words, check names it, and nothing outside is touched."""

import contextlib
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from anything import JSON, MANY, NASTY, TEXTS
from bundles import Canary
from canary import listening
from hypothesis import given
from hypothesis import strategies as st
from samples import slow
from sqlalchemy import String, text, types
from sqlalchemy.exc import SQLAlchemyError

from nirs4all_store import ReadOnlyError, StoreError, UnitOfWork, WorkspaceCorruptError, WorkspaceStore, views
from nirs4all_store.artifacts.artifact_files import sha256
from nirs4all_store.models import Base
from nirs4all_store.testing.contract import X, Y, add_chain, add_pipeline, add_prediction
from nirs4all_store.validation.values import json_text
from nirs4all_store.workspace import check

NEW = pl.DataFrame(X, schema=[f"x{number}" for number in range(X.shape[1])])
WRITES = 5
"""How many of the calls change something."""
TEXT_COLUMNS = {
    table.name: [column.name for column in table.columns if isinstance(column.type, String | types.JSON)]
    for table in Base.metadata.sorted_tables
}
JSON_COLUMNS = {
    column.name
    for table in Base.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, types.JSON)
}


@dataclass(frozen=True)
class World:
    """A store with one of everything, its ids, and a file outside that must not be touched."""

    store: WorkspaceStore
    run_id: str
    pipeline_id: str
    chain_id: str
    prediction_id: str
    artifact_id: str
    dataset_id: str
    worse_id: str
    secret: Path
    exports: Path


def one_of_each(store: WorkspaceStore) -> tuple[str, ...]:
    """Save something in each table; return the ids as `World` has them."""
    data = {"X": X, "y": Y, "sample": [f"s{number}" for number in range(len(X))]}
    dataset_id = store.save_dataset(data, keep_spectra=True)
    run_id = store.begin_run("run", {"seed": 1}, [{"name": "wheat"}])
    judged = {"splitter": "KFold(2)", "folds": "hash", "n_repeats": 1, "targets": ["protein"]}
    pipeline_id = store.begin_pipeline(run_id, "0001_pls", {}, [], "wheat", "hash", {}, judged, dataset_id)
    chain_id = add_chain(store, pipeline_id)
    prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg")
    store.save_prediction_arrays(prediction_id, np.arange(3.0), np.arange(3.0), None, np.arange(3))
    store.log_step(pipeline_id, 0, "PLS", "end", 1)
    worse = add_chain(store, pipeline_id, 3)
    add_prediction(store, pipeline_id, chain_id=worse, fold_id="avg", val_score=0.9)
    artifact_id = (store.get_chain(chain_id) or {})["fold_artifacts"]["0"]
    return run_id, pipeline_id, chain_id, prediction_id, artifact_id, dataset_id, worse


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("rows")
    secret = folder / "secret.pkl"
    secret.write_bytes(pickle.dumps(Canary(folder / "canary")))
    (folder / "exports").mkdir()
    with WorkspaceStore(folder / "workspace") as store:
        ids = one_of_each(store)
        (store.workspace_path / "artifacts" / "link").symlink_to(folder)
        yield World(store, *ids, secret, folder / "exports")
    assert sorted(path.name for path in folder.iterdir()) == ["exports", "secret.pkl", "workspace"]
    assert secret.read_bytes() == pickle.dumps(Canary(folder / "canary"))


def calls(world: World) -> list[Callable[[], Any]]:
    """Return every call that looks at what is there, or removes it."""
    store, exports = world.store, world.exports
    return [
        lambda: store.get_run(world.run_id),
        store.list_runs,
        lambda: store.get_pipeline(world.pipeline_id),
        lambda: store.list_pipelines(run_id=world.run_id),
        lambda: store.get_chain(world.chain_id),
        lambda: store.get_chains_for_pipeline(world.pipeline_id),
        lambda: store.replay_chain(world.chain_id, X),
        lambda: store.load_chain(world.chain_id),
        store.list_datasets,
        lambda: store.get_dataset(world.dataset_id),
        lambda: store.load_dataset(world.dataset_id),
        lambda: store.update_dataset(world.dataset_id, origin="wheat.csv"),
        lambda: store.chain_samples(world.chain_id, average="sample"),
        lambda: store.chain_scores(world.chain_id),
        lambda: store.predict_table(world.chain_id, NEW),
        lambda: views.list_models(store, views.rank(store, 3)),
        lambda: views.rank(store, 3, "rpd"),
        lambda: views.rank(store, 3, target="protein"),
        lambda: views.list_datasets(store, 3),
        lambda: store.prune(world.run_id, keep_best=1),
        lambda: store.get_prediction(world.prediction_id, load_arrays=True),
        store.query_predictions,
        lambda: store.top_predictions(3),
        lambda: store.top_predictions(3, group_by="model_name"),
        lambda: store.load_artifact(world.artifact_id),
        lambda: store.get_artifact_path(world.artifact_id),
        lambda: store.get_pipeline_log(world.pipeline_id),
        lambda: store.get_run_log_summary(world.run_id),
        lambda: store.export_chain(world.chain_id, exports / "chain.n4a"),
        lambda: store.export_chain(world.chain_id, exports / "chain.n4a.py", "n4a.py"),
        lambda: store.export_pipeline_config(world.pipeline_id, exports / "config.json"),
        lambda: store.export_run(world.run_id, exports / "run.yaml"),
        lambda: store.export_predictions_parquet(exports / "predictions.parquet"),
        lambda: store.list_runs(dataset="wheat"),
        lambda: store.rank_chains(copies=True),
        lambda: store.rank_chains("r2", target="protein", search="pls"),
        lambda: store.rank_chains("rmsep", limit=1, after=store.rank_chains("rmsep", limit=1).next),
        lambda: store.facets(["dataset_name", "run_id", "branch_id", "dataset_id"]),
        lambda: store.score_histogram("rmse", bins=3),
        lambda: store.parameter_profile("n_components"),
        lambda: store.distinct("branch_id"),
        lambda: store.count_predictions(branch_id=[1, 2], run_id=world.run_id),
        lambda: store.compare_chains([world.chain_id, world.worse_id]),
        lambda: views.compare_chains(store, world.chain_id, world.worse_id, ids=True),
        lambda: store.run_progress(world.run_id),
        store.usage,
        lambda: views.list_runs(store, None, None, 3),
        lambda: views.list_pipelines(store, world.run_id, 3),
        lambda: store.logs_since(world.run_id),
        lambda: store.environment(world.chain_id),
        lambda: store.sql("SELECT * FROM chains"),
        lambda: store.plan_gc(grace=timedelta(0)),
        lambda: store.resume_run(world.run_id),
        lambda: store.delete_prediction(world.prediction_id),
        lambda: store.delete_run(world.run_id),
    ]


def test_every_call_answers_where_nothing_is_damaged(world: World) -> None:
    with world.store.unit_of_work():  # Nothing is kept.
        for call in calls(world):
            call()
    with WorkspaceStore(world.store.workspace_path, read_only=True) as store:
        refused = 0
        for call in calls(replace(world, store=store)):
            try:
                call()
            except ReadOnlyError:
                refused += 1
    assert refused == WRITES


@contextlib.contextmanager
def tampered(world: World, table: str, column: str, value: Any) -> Iterator[UnitOfWork | None]:
    """Give a column another value in every row, behind the store's back, until the end; None: that did not work."""
    with world.store.unit_of_work() as uow:
        try:
            uow.session.execute(text(f"UPDATE {table} SET {column} = :value"), {"value": value})
        except SQLAlchemyError:  # It is no JSON, or no text that UTF-8 has: the engine itself keeps it out.
            uow.rollback()
            yield None
        else:
            yield uow


class Anything(frozenset[str]):
    """What this workspace saved itself may be loaded."""

    def __contains__(self, name: object) -> bool:
        return name != "pathlib.Path.touch"


@MANY
@given(data=st.data(), table=st.sampled_from(sorted(TEXT_COLUMNS)))
def test_every_call_answers_or_refuses_whatever_a_column_holds(world: World, data: st.DataObject, table: str) -> None:
    column = data.draw(st.sampled_from(TEXT_COLUMNS[table]))
    if column in JSON_COLUMNS:
        try:
            value = json_text(data.draw(JSON), column)
        except StoreError:
            return
    else:
        value = data.draw(TEXTS | st.none())
    safe = listening(world.store.workspace_path, world.exports, may_unpickle=Anything())
    with safe, tampered(world, table, column, value) as uow:
        if uow is not None:
            check.check(uow, deep=True)
            for call in calls(world):
                with contextlib.suppress(StoreError):
                    call()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("chains", "steps", "[null]"),
        slow("chains", "steps", "null"),
        ("chains", "attachments", '["x"]'),
        slow("chains", "attachments", "5"),
        ("chains", "fold_artifacts", '{"fold_0": [["x"]], "fold_1": ["x"]}'),
        ("pipelines", "judged_by", '{"targets": 5, "coverage": 5}'),
        slow("pipelines", "judged_by", '{"targets": [["protein"]]}'),
        ("predictions", "scores", '{"val": {"targets": 5}}'),
        slow("predictions", "scores", '{"val": 5}'),
        ("predictions", "best_params", "[1]"),
        ("datasets", "units", "5"),
    ],
)
def test_samples_exports_and_rankings_of_a_damaged_row_once_ended_in_words_of_python(
    world: World, table: str, column: str, value: str
) -> None:
    with tampered(world, table, column, value) as uow:
        assert uow is not None
        if table == "chains":
            assert world.chain_id in str(check.check(uow, deep=False).findings)
        for call in calls(world):
            with contextlib.suppress(StoreError):
                call()


HOSTILE_PATHS = [
    "../../secret.pkl",
    "{folder}/secret.pkl",
    "link/secret.pkl",
    "ab/../../../secret.pkl",
    "link.pkl",
    "../store.duckdb",
    ".",
    "",
    *NASTY,
]


PRINTABLE = [path for path in HOSTILE_PATHS if len(path) < 60_000 and path.isprintable()]
FEW = 3  # Those that lead out most plainly; the others lead nowhere, or are names that are nasty anywhere.


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[pytest.mark.slow] * (number >= FEW)) for number, path in enumerate(PRINTABLE)]
)
def test_a_path_in_a_tampered_database_leads_nowhere(tmp_path: Path, path: str) -> None:
    (tmp_path / "out").mkdir()
    secret = tmp_path / "secret.pkl"
    secret.write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with WorkspaceStore(tmp_path / "workspace") as store:
        _, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        artifact_id = (store.get_chain(chain_id) or {})["fold_artifacts"]["0"]
        unused = store.save_artifact([1], "list", "other", "pickle")
        (tmp_path / "workspace" / "artifacts" / "link").symlink_to(tmp_path)
        (tmp_path / "workspace" / "artifacts" / "link.pkl").symlink_to(secret)
        with store.unit_of_work() as uow:
            values = {
                "path": path.format(folder=tmp_path) if "{folder}" in path else path,
                "hash": sha256(secret.read_bytes()),
                "ids": [artifact_id, unused],
            }
            uow.session.execute(
                text(
                    "UPDATE artifacts SET artifact_path = :path, content_hash = :hash, format = 'pickle' "
                    "WHERE list_contains(:ids, artifact_id)"
                ),
                values,
            )
            uow.commit()
        with listening(tmp_path / "workspace", tmp_path / "out", may_unpickle=Anything()):
            for call in (
                lambda: store.load_artifact(artifact_id),
                lambda: store.get_artifact_path(artifact_id),
                lambda: store.replay_chain(chain_id, X),
                lambda: store.export_chain(chain_id, tmp_path / "out" / "chain"),
                lambda: store.export_chain(chain_id, tmp_path / "out" / "chain", "n4a.py"),
                lambda: store.plan_gc(grace=timedelta(0)),
                lambda: store.repair(dry_run=False, deep=True),
                lambda: store.backup(tmp_path / "out" / "backup"),
            ):
                with contextlib.suppress(StoreError, UserWarning):
                    call()
            found = store.check(deep=True).findings
            assert artifact_id in str(found)
            with contextlib.suppress(UserWarning):
                store.delete_pipeline(pipeline_id)
            with contextlib.suppress(UserWarning):
                store.gc_artifacts(grace=timedelta(0))
        assert store.list_runs().height == 1
    assert secret.read_bytes() == pickle.dumps(Canary(tmp_path / "canary"))
    assert not (tmp_path / "canary").exists()
    assert (tmp_path / "workspace" / "artifacts" / "link").is_symlink()


def replace_column(workspace: Path, table: str, column: str, held: str) -> None:
    """Give a table another column under the same name, as no program of ours does."""
    with duckdb.connect(str(workspace / "store.duckdb")) as connection:
        connection.execute(f"CREATE TABLE other AS SELECT * REPLACE ({held} AS {column}) FROM {table}")
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"ALTER TABLE other RENAME TO {table}")


@pytest.mark.parametrize(
    ("table", "some"),
    [
        pytest.param("artifacts", ["artifact_path", "size_bytes", "provenance"], id="artifacts"),
        pytest.param("predictions", ["repeat", "partition"], id="predictions"),
        pytest.param("prediction_arrays", ["y_proba"], id="prediction_arrays"),
        *(pytest.param(table, None, id=f"all of {table}", marks=pytest.mark.slow) for table in sorted(TEXT_COLUMNS)),
    ],
)
def test_columns_of_another_type_are_refused_in_words(tmp_path: Path, table: str, some: list[str] | None) -> None:
    with WorkspaceStore(tmp_path / "sound") as store:
        ids = one_of_each(store)
        with store.unit_of_work() as uow:
            columns = uow.session.execute(text(f"SELECT * FROM {table} LIMIT 0")).keys()
    for column in some or columns:
        shutil.rmtree(tmp_path / "workspace", ignore_errors=True)
        shutil.copytree(tmp_path / "sound", tmp_path / "workspace")
        replace_column(tmp_path / "workspace", table, column, "7" if column in TEXT_COLUMNS[table] else "'x'")
        is_refused = False
        try:
            store = WorkspaceStore(tmp_path / "workspace")
        except WorkspaceCorruptError as error:
            is_refused = f"column {table}.{column} is to be" in str(error).replace('"', "")
            store = WorkspaceStore(tmp_path / "workspace", read_only=True)
        with store:
            world = World(store, *ids, tmp_path, tmp_path)
            for call in calls(world):
                nothing_is_kept = contextlib.nullcontext() if is_refused else store.unit_of_work()
                with nothing_is_kept, contextlib.suppress(StoreError):
                    call()
            codes = {finding.code for finding in store.check(deep=True).findings}
            assert ("other-column" in codes) == is_refused


@pytest.mark.parametrize(
    ("column", "held", "found"),
    [
        ("val_score", "(val_score * 10)::VARCHAR", "String"),
        ("metric", "7", "Int32"),
        ("partition", "7", "Int32"),
        ("created_at", "TIME '9:00'", "Time"),
    ],
)
def test_scores_that_are_text_once_were_ranked_by_their_letters_or_ended_in_words_of_the_database(
    tmp_path: Path, column: str, held: str, found: str
) -> None:
    with WorkspaceStore(tmp_path) as store:
        run_id, *_ = one_of_each(store)
    replace_column(tmp_path, "predictions", column, held)
    with WorkspaceStore(tmp_path, read_only=True) as store:
        for call in (
            lambda: store.top_predictions(3),
            lambda: store.top_predictions(3, once=True),
            lambda: store.top_predictions(3, ascending=False),
            lambda: store.top_predictions(3, score_metric="rmse"),
            lambda: store.prune(run_id, 1, dry_run=True),
        ):
            with pytest.raises(WorkspaceCorruptError, match=f"{column} holds {found}"):
                call()
