"""The two fences around an open database: nobody in this process touches it, nobody outside opens it."""

import inspect
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fence import Touched
from old_workspaces import write_screening
from programs import Process, programs, says, tell

from nirs4all_store import WorkspaceStore
from nirs4all_store.testing.contract import X, add_chain, add_pipeline, add_prediction

RIVAL = """
import sys, duckdb
print("ready", flush=True)
for line in sys.stdin:
    try:
        duckdb.connect(sys.argv[1] + "/store.duckdb").close()
        print("opened", flush=True)
    except duckdb.IOException as error:
        print("refused" if "lock" in str(error) else error, flush=True)
"""


@pytest.mark.parametrize(
    "touch",
    [
        lambda path: path.open("rb"),
        lambda path: shutil.copyfile(path, f"{path}.copy"),
        lambda path: path.read_bytes(),
    ],
)
@pytest.mark.parametrize("name", ["store.duckdb", "store.duckdb.wal"])
def test_the_fence_stands(tmp_path: Path, touch: Callable[[Path], object], name: str) -> None:
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("r")
        with pytest.raises(Touched):
            touch(tmp_path / name)
        store.begin_run("r")
    assert (tmp_path / "store.duckdb").read_bytes()


def calls(folder: Path, store: WorkspaceStore) -> dict[str, Callable[[], Any]]:
    """Return a call of each public method, by name; those that end the store are left out."""
    run_id, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    dataset_id = store.save_dataset((X, X[:, 0]))
    prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id)
    other_id = add_chain(store, pipeline_id)
    add_prediction(store, pipeline_id, chain_id=other_id)
    artifact = store.sql("FROM artifacts").row(0, named=True)
    artifact_id = artifact["artifact_id"]
    record = store.get_prediction(prediction_id) or {}
    kept = {name: record[name] for name in inspect.signature(store.save_prediction).parameters if name in record}
    del kept["prediction_id"], kept["pipeline_id"]

    def in_block(block: Any) -> None:
        with block:
            store.begin_run("inside")

    def joined() -> None:
        with store.unit_of_work() as uow:
            uow.runs.add("inside")
            uow.commit()

    if not (folder / "old").exists():
        write_screening(folder / "old")
    return {
        "transaction": lambda: in_block(store.transaction()),
        "unit_of_work": joined,
        "begin_run": lambda: store.begin_run("r"),
        "get_run": lambda: store.get_run(run_id),
        "list_runs": store.list_runs,
        "fail_run": lambda: store.fail_run(run_id, "because"),
        "resume_run": lambda: store.resume_run(run_id),
        "complete_run": lambda: store.complete_run(run_id),
        "save_dataset": lambda: store.save_dataset((X, X[:, 0])),
        "list_datasets": store.list_datasets,
        "rank_chains": store.rank_chains,
        "facets": store.facets,
        "score_histogram": store.score_histogram,
        "parameter_profile": lambda: store.parameter_profile("n_components"),
        "distinct": lambda: store.distinct("run_id"),
        "count_predictions": store.count_predictions,
        "compare_chains": lambda: store.compare_chains([chain_id, other_id]),
        "run_progress": lambda: store.run_progress(run_id),
        "run_summaries": store.run_summaries,
        "usage": store.usage,
        "save_result": lambda: store.save_result("tuning", None, "{}"),
        "get_result": lambda: store.get_result("unknown"),
        "list_results": store.list_results,
        "logs_since": lambda: store.logs_since(run_id),
        "change_token": store.change_token,
        "environment": lambda: store.environment(chain_id),
        "verify": store.verify,
        "untrusted_chains": lambda: store.untrusted_chains([chain_id]),
        "get_dataset": lambda: store.get_dataset(dataset_id),
        "load_dataset": lambda: store.load_dataset(dataset_id),
        "update_dataset": lambda: store.update_dataset(dataset_id, origin="wheat.csv"),
        "attach_dataset": lambda: store.attach_dataset((X, X[:, 0])),
        "begin_pipeline": lambda: store.begin_pipeline(run_id, "p"),
        "complete_pipeline": lambda: store.complete_pipeline(pipeline_id),
        "get_pipeline": lambda: store.get_pipeline(pipeline_id),
        "list_pipelines": store.list_pipelines,
        "save_chain": lambda: add_chain(store, pipeline_id),
        "get_chain": lambda: store.get_chain(chain_id),
        "get_chains_for_pipeline": lambda: store.get_chains_for_pipeline(pipeline_id),
        "replay_chain": lambda: store.replay_chain(chain_id, X),
        "load_chain": lambda: store.load_chain(chain_id),
        "predict_frame": lambda: store.predict_frame(chain_id, X),
        "predict_table": lambda: store.predict_table(chain_id, pl.DataFrame(X)),
        "chain_samples": lambda: store.chain_samples(chain_id),
        "chain_scores": lambda: store.chain_scores(chain_id),
        "save_prediction": lambda: add_prediction(store, pipeline_id),
        "save_predictions": lambda: store.save_predictions(pipeline_id, [kept]),
        "save_prediction_arrays": lambda: store.save_prediction_arrays(prediction_id, [1.0], [1.0]),
        "get_prediction": lambda: store.get_prediction(prediction_id, load_arrays=True),
        "query_predictions": store.query_predictions,
        "top_predictions": lambda: store.top_predictions(1),
        "delete_prediction": lambda: store.delete_prediction(prediction_id),
        "save_artifact": lambda: store.save_artifact({}, "dict", "other", "pickle"),
        "load_artifact": lambda: store.load_artifact(artifact_id),
        "get_artifact_path": lambda: store.get_artifact_path(artifact_id),
        "register_existing_artifact": lambda: store.register_existing_artifact(
            "mine", artifact["artifact_path"], artifact["content_hash"], "M", "model", "joblib", None
        ),
        "prune": lambda: store.prune(run_id, keep_best=1),
        "plan_gc": store.plan_gc,
        "gc_artifacts": lambda: store.gc_artifacts(grace=timedelta(0)),
        "log_step": lambda: store.log_step(pipeline_id, 0, "M", "end"),
        "get_pipeline_log": lambda: store.get_pipeline_log(pipeline_id),
        "get_run_log_summary": lambda: store.get_run_log_summary(run_id),
        "find": lambda: store.find(run_id),
        "find_ids": lambda: store.find_ids(run_id),
        "shorten_ids": lambda: store.shorten_ids([run_id]),
        "export_chain": lambda: store.export_chain(chain_id, folder / "chain"),
        "import_bundle": lambda: store.import_bundle(folder / "chain.n4a"),
        "import_workspace": lambda: store.import_workspace(folder / "old"),
        "trust_chain": lambda: store.trust_chain(chain_id, True),
        "export_pipeline_config": lambda: store.export_pipeline_config(pipeline_id, folder / "pipeline"),
        "export_run": lambda: store.export_run(run_id, folder / "run"),
        "export_predictions_parquet": lambda: store.export_predictions_parquet(folder / "all"),
        "sql": lambda: store.sql("FROM runs"),
        "check": lambda: store.check(deep=True),
        "repair": lambda: store.repair(dry_run=False),
        "vacuum": store.vacuum,
        "backup": lambda: store.backup(folder / "backup"),
        "fail_pipeline": lambda: store.fail_pipeline(pipeline_id, "because"),
        "delete_pipeline": lambda: store.delete_pipeline(pipeline_id),
        "delete_run": lambda: store.delete_run(run_id),
    }


def test_after_every_method_another_program_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    with programs(folder) as others, WorkspaceStore(folder) as store:
        rival = others.start(RIVAL)
        assert says(rival) == "ready"
        for name, call in calls(tmp_path, store).items():
            call()
            assert refused(rival), name
        listed = {name for name, _ in inspect.getmembers(WorkspaceStore) if not name.startswith("_")}
        assert set(calls(tmp_path, store)) == listed - {"close", "workspace_path", "is_in_transaction"}


def refused(rival: Process) -> bool:
    tell(rival)
    return says(rival) == "refused"
