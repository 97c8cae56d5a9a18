"""Make the golden workspace of the newest revision: once, when it lands; what it made is never made again.

    python tests/golden/make.py

What made 0001 (as nirs4all 0.7.1 wrote it, with its DuckDB 1.4.4) and 0002 is this file as it is in commit 98a1208, for
0003 in f9bd329, for 0004 in 6b3c7f8, for 0005 in 62ddf0d, for 0006 in aac8dcd, for 0007 in 50be8e3: check out that
commit to run it.

Each `<revision>.zip` holds the workspace and `expected.json`: rows per table, the ids of the best three,
what each chain must predict from `X_new`, and the arrays of some predictions.
"""

import json
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from sklearn.linear_model import Ridge
from sqlalchemy import text

from nirs4all_store import WorkspaceStore
from nirs4all_store.engine import HEAD
from nirs4all_store.models import Label

RNG = np.random.default_rng(0)
X, X_NEW = RNG.normal(size=(30, 12)), RNG.normal(size=(5, 12))
Y = X @ RNG.normal(size=12)
WHEN = datetime(2026, 11, 30)
TABLES = ("runs", "datasets", "pipelines", "chains", "predictions", "prediction_arrays", "artifacts", "logs")
TABLES = (*TABLES, "labels", "label_links", "results")


def make(folder: Path) -> dict[str, Any]:
    """Write a workspace, with runs that processes of another machine run; return what must be true of it."""
    expected: dict[str, Any] = {"replay": {}, "y_pred": {}, "best": [], "runs": []}
    owner = {
        "host": "elsewhere",
        "machine": "m",
        "boot": "b",
        "pid_namespace": "pid:[4026531836]",
        "time_namespace": "time:[4026531834]",
        "pid": 7,
        "started": 11,
    }
    step = {"step_idx": 0, "operator_class": "Ridge", "params": {}, "artifact_id": None, "stateless": False}
    with WorkspaceStore(folder) as store:
        for number, status in enumerate(("completed", "running", "interrupted")):
            run_id = store.begin_run(status, {"seed": number}, [{"name": "wheat"}])
            expected["runs"].append(run_id)
            dataset_id = None
            if number == 1:  # A dataset whose data are kept; the others are only told.
                dataset_id = store.save_dataset({"X": X, "y": Y, "groups": ["a", "b"] * 15}, keep_spectra=True)
                store.update_dataset(dataset_id, name="wheat", unit="%", origin="wheat.csv")
                expected["datasets"] = {dataset_id: store.load_dataset(dataset_id).to_dict(as_series=False)}
            pipeline_id = store.begin_pipeline(
                run_id,
                "ridge",
                {"model": "Ridge"},
                [1],
                "wheat",
                "hash",
                [{"_or_": ["Ridge"]}],
                {"folds": "f"},
                dataset_id,
            )
            model_id = store.save_artifact(Ridge(number + 1).fit(X, Y), "Ridge", "model", "joblib")
            folds, more = {"final": model_id}, {}
            if number == 2:  # A final model beside the folds, and all else that may hang on a chain.
                folds |= {str(k): store.save_artifact(Ridge(9).fit(X[k::2], Y[k::2]), "Ridge", "model") for k in (0, 1)}
                domain = store.save_artifact({"limit": np.float32(9)}, "dict", "domain")
                more = {
                    "attachments": {"domain": domain},
                    "predict_fold": "final",
                    "refit_of": next(iter(expected["replay"])),
                    "verification": {"verdict": "equal", "difference": 0.0},
                }
            chain_id = store.save_chain(pipeline_id, [step], 0, "Ridge", "", "shared", folds, {}, **more)
            expected["replay"][chain_id] = store.replay_chain(chain_id, X_NEW).tolist()
            prediction_id = store.save_prediction(
                pipeline_id,
                chain_id,
                "wheat",
                "m",
                "Ridge",
                "0",
                "val",
                0.1 * (number + 1),
                None,
                None,
                "rmse",
                "regression",
                3,
                12,
                {},
                {"alpha": number + 1},
                None,
                None,
                0,
                0.0,
                repeat=number or None,
            )
            store.save_prediction_arrays(prediction_id, np.array([1, 2, 3]), np.array([1.0, 2.0, number]))
            expected["best"].append(prediction_id)
            expected["y_pred"][prediction_id] = [1.0, 2.0, number]
            store.log_step(pipeline_id, 0, "Ridge", "end", 3, "done", {"n": 1})
            store.save_result("tuning", "search", "{}\n", chain_id=chain_id, details={"trials": number})
            with store.unit_of_work() as uow:
                label = {"label_id": f"label {number}", "kind": "project", "name": f"wheat {number}"}
                uow.whole_rows.add(Label, label | {"created_at": WHEN, "updated_at": WHEN})
                uow.labels.link(f"label {number}", "run", run_id)
                for table in ("runs", "pipelines"):
                    values = {"status": status, "run": run_id}
                    uow.session.execute(text(f"UPDATE {table} SET status = :status WHERE run_id = :run"), values)
                values = {"owner": json.dumps(owner | {"pid": 7 + number}), "run": run_id}
                uow.session.execute(text("UPDATE runs SET owner = :owner WHERE run_id = :run"), values)
                uow.commit()
    return expected


def main() -> None:
    """Write `<revision>.zip` beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        expected = make(workspace)
        with duckdb.connect(str(workspace / "store.duckdb"), read_only=True) as connection:
            counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in TABLES}
        expected |= {"rows": counts, "X_new": X_NEW.tolist()}
        (workspace / "expected.json").write_text(json.dumps(expected, indent=1))
        with zipfile.ZipFile(Path(__file__).with_name(f"{HEAD}.zip"), "x", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(workspace.rglob("*")):
                if path.is_file() and path.name != ".store.lock":
                    archive.write(path, path.relative_to(workspace))


if __name__ == "__main__":
    main()
