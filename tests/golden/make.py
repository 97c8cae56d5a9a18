"""Make the golden workspace of a revision: once, when the revision lands; what it made is never made again.

    python -m pip install --target duckdb14 duckdb==1.4.4
    PYTHONPATH=duckdb14 python tests/golden/make.py 0001    (as nirs4all 0.7.1 wrote it, with its duckdb)
    python tests/golden/make.py 0002                        (with the package as it was at 0002; later ones likewise)

The modules had other names then (`nirs4all_store.migrate`). What made 0001 and 0002 is this file as it is in commit
98a1208, for 0003 in f9bd329, for 0004 in 6b3c7f8: check that commit out to run it.

Each `<revision>.zip` holds the workspace and `expected.json`: rows per table, the ids of the best three,
what each chain must predict from `X_new`, and the arrays of some predictions.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).parents[1]))

from legacy import FOLDS, LABELS, X_NEW, X, Y, make_legacy

TABLES = ("runs", "pipelines", "chains", "predictions", "prediction_arrays", "artifacts", "logs")


def make_0001(folder: Path) -> dict[str, Any]:
    """Write a workspace as nirs4all 0.7.1 did."""
    import duckdb

    assert duckdb.__version__.startswith("1.4."), duckdb.__version__
    expected = make_legacy(folder, "0.7.1")
    return {
        "best": expected["best"],
        "replay": {chain: y for chain, y in expected.items() if chain.startswith("chain-")},
        "y_pred": {"fedcba9876543210": [1.0, 2.0, 3.5]},
        "runs": ["run-1", "run-2"],
    }


def make_0002(folder: Path) -> dict[str, Any]:
    """Write a workspace with the package at revision 0002."""
    from nirs4all_store.migrate import HEAD

    from nirs4all_store import WorkspaceStore

    assert HEAD == "0002", "check out the package as it was at 0002"
    expected: dict[str, Any] = {"replay": {}, "y_pred": {}}
    with WorkspaceStore(folder) as store:
        run_id = store.begin_run("golden é", {"seed": 1}, [{"name": "wheat"}])
        expected["runs"] = [run_id]
        pipeline_id = store.begin_pipeline(run_id, "ridge", {"model": "Ridge"}, [1], "wheat", "hash")
        scaler = StandardScaler().fit(X)
        scaler_id = store.save_artifact(scaler, "StandardScaler", "transformer", "joblib")
        Z = scaler.transform(X)
        models = [Ridge().fit(Z[fold], Y[fold]) for fold in FOLDS]
        folds = {str(i): store.save_artifact(model, "Ridge", "model", "joblib") for i, model in enumerate(models)}
        steps = [{"step_idx": i, "operator_class": name, "params": {}, "artifact_id": None, "stateless": False}
                 for i, name in enumerate(["StandardScaler", "Ridge"])]  # fmt: skip
        ridge = store.save_chain(pipeline_id, steps, 1, "Ridge", "SS", "per_fold", folds, {"0": scaler_id})
        expected["replay"][ridge] = store.replay_chain(ridge, X_NEW).tolist()
        model_id = store.save_artifact(LogisticRegression().fit(X, LABELS), "LogisticRegression", "model", "pickle")
        logistic = store.save_chain(pipeline_id, steps[:1], 0, "L", "", "shared", {"final": model_id}, {})
        expected["replay"][logistic] = store.replay_chain(logistic, X_NEW).tolist()
        arrays = {0.3: np.array([1, 2, 3]), 0.1: np.array(["a", "é", ""]), 0.2: np.array([[1.5, np.nan], [0.0, -1.0]])}
        ids = {}
        for score, y in arrays.items():
            ids[score] = store.save_prediction(
                pipeline_id, ridge, "wheat", "m", "Ridge", "0", "val", score, None, None, "rmse", "regression",
                len(y), 12, {"val": {"rmse": score}}, {"alpha": 1.0}, None, None, 0, 0.0,
            )  # fmt: skip
            store.save_prediction_arrays(ids[score], y, y)
            expected["y_pred"][ids[score]] = y.tolist()
        expected["best"] = [ids[score] for score in sorted(ids)]
        store.log_step(pipeline_id, 0, "Ridge", "end", 3, "done", {"n": 1})
        store.complete_run(run_id, {"best": 0.1})
    return expected


def make_0003(folder: Path) -> dict[str, Any]:
    """Write a workspace with the package at revision 0003: an imported chain, trusted by the names of its types."""
    from nirs4all_store.migrate import HEAD

    from nirs4all_store import WorkspaceStore

    assert HEAD == "0003", "check out the package as it was at 0003"
    expected: dict[str, Any] = {"replay": {}, "y_pred": {}}
    steps = [{"step_idx": 0, "operator_class": "Ridge", "params": {}, "artifact_id": None, "stateless": False}]
    bundle = folder.parent / "ridge.n4a"
    with WorkspaceStore(folder.parent / "origin") as origin:
        run_id = origin.begin_run("origin", {}, [{"name": "wheat"}])
        pipeline_id = origin.begin_pipeline(run_id, "ridge", {"model": "Ridge"}, [1], "wheat", "hash")
        model_id = origin.save_artifact(Ridge().fit(X, Y), "Ridge", "model", "joblib")
        chain_id = origin.save_chain(pipeline_id, steps, 0, "Ridge", "", "per_fold", {"0": model_id}, {})
        for score in (0.1, 0.2, 0.3):
            origin.save_prediction(
                pipeline_id, chain_id, "wheat", "m", "Ridge", "0", "val", score, None, None, "rmse", "regression",
                3, 12, {"val": {"rmse": score}}, {"alpha": 1.0}, None, None, 0, 0.0,
            )  # fmt: skip
        origin.export_chain(chain_id, bundle)
    with WorkspaceStore(folder) as store:
        imported = store.import_bundle(bundle, trusted=[Ridge])
        expected["runs"] = [imported.run_id]
        expected["replay"][imported.chain_id] = store.replay_chain(imported.chain_id, X_NEW).tolist()
        expected["best"] = store.top_predictions(3)["prediction_id"].to_list()
        store.save_prediction_arrays(expected["best"][0], np.array([1, 2, 3]), np.array([1.0, 2.0, 3.5]))
        expected["y_pred"][expected["best"][0]] = [1.0, 2.0, 3.5]
        store.log_step(imported.pipeline_id, 0, "Ridge", "end", 3, "done", {"n": 1})
    return expected


def make_0004(folder: Path) -> dict[str, Any]:
    """Write a workspace with the package at revision 0004: runs that processes of another machine run."""
    from nirs4all_store.migrate import HEAD
    from sqlalchemy import text

    from nirs4all_store import WorkspaceStore

    assert HEAD == "0004", "check out the package as it was at 0004"
    expected: dict[str, Any] = {"replay": {}, "y_pred": {}, "best": [], "runs": []}
    owner = {"host": "elsewhere", "machine": "m", "boot": "b", "pid_namespace": "pid:[4026531836]",
             "time_namespace": "time:[4026531834]", "pid": 7, "started": 11}  # fmt: skip
    step = {"step_idx": 0, "operator_class": "Ridge", "params": {}, "artifact_id": None, "stateless": False}
    with WorkspaceStore(folder) as store:
        for number, status in enumerate(("completed", "running", "interrupted")):
            run_id = store.begin_run(status, {"seed": number}, [{"name": "wheat"}])
            expected["runs"].append(run_id)
            pipeline_id = store.begin_pipeline(run_id, "ridge", {"model": "Ridge"}, [1], "wheat", "hash")
            model_id = store.save_artifact(Ridge(number + 1).fit(X, Y), "Ridge", "model", "joblib")
            chain_id = store.save_chain(pipeline_id, [step], 0, "Ridge", "", "shared", {"final": model_id}, {})
            expected["replay"][chain_id] = store.replay_chain(chain_id, X_NEW).tolist()
            prediction_id = store.save_prediction(
                pipeline_id, chain_id, "wheat", "m", "Ridge", "0", "val", 0.1 * (number + 1), None, None, "rmse",
                "regression", 3, 12, {}, {"alpha": number + 1}, None, None, 0, 0.0,
            )  # fmt: skip
            store.save_prediction_arrays(prediction_id, np.array([1, 2, 3]), np.array([1.0, 2.0, number]))
            expected["best"].append(prediction_id)
            expected["y_pred"][prediction_id] = [1.0, 2.0, number]
            store.log_step(pipeline_id, 0, "Ridge", "end", 3, "done", {"n": 1})
            with store.unit_of_work() as uow:
                for table in ("runs", "pipelines"):
                    values = {"status": status, "run": run_id}
                    uow.session.execute(text(f"UPDATE {table} SET status = :status WHERE run_id = :run"), values)
                values = {"owner": json.dumps(owner | {"pid": 7 + number}), "run": run_id}
                uow.session.execute(text("UPDATE runs SET owner = :owner WHERE run_id = :run"), values)
                uow.commit()
    return expected


def main(revision: str) -> None:
    """Write `<revision>.zip` beside this file."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        make = {"0001": make_0001, "0002": make_0002, "0003": make_0003, "0004": make_0004}[revision]
        expected = make(workspace)
        with duckdb.connect(str(workspace / "store.duckdb"), read_only=True) as connection:
            counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in TABLES}
        expected |= {"rows": counts, "X_new": X_NEW.tolist()}
        (workspace / "expected.json").write_text(json.dumps(expected, indent=1))
        with zipfile.ZipFile(Path(__file__).with_name(f"{revision}.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(workspace.rglob("*")):
                if path.is_file() and path.name != ".store.lock":
                    archive.write(path, path.relative_to(workspace))


if __name__ == "__main__":
    main(sys.argv[1])
