"""Trains a sweep with nirs4all, and uses what it made by nirs4all's own means; prints JSON.

`python nirs4all_using.py FOLDER ENGINE`
"""

import json
import sys
from pathlib import Path

import nirs4all
import numpy as np
import yaml
from nirs4all.data import Predictions
from nirs4all.pipeline.storage import WorkspaceStore
from nirs4all_training import X_NEW, train

OLD = {"engine": "legacy"} if nirs4all.__version__ > "1" else {}


def predicted(**what):
    """Return what nirs4all predicts of new spectra."""
    found = nirs4all.predict(data=X_NEW, verbose=0, **what, **OLD)
    return np.asarray(found.y_pred, dtype=float).ravel().tolist()


def of_branches(folder):
    """Give what the bundle of each chain of branches predicts, and what its replay does."""
    result = train(folder / "branches", "branches", "legacy")
    with WorkspaceStore(folder / "branches") as store:
        for chain_id in store.query_chain_summaries()["chain_id"]:
            replay = np.ravel(store.replay_chain(chain_id, X_NEW)).tolist()
            bundle = result.export(folder / f"{chain_id}.n4a", chain_id=chain_id)
            yield predicted(model=str(bundle)), replay


def use(folder, engine):
    """Return predictions of one chain, made in each way that there is, and what else nirs4all finds and deletes."""
    workspace = folder / "workspace"
    result = train(workspace, "sweep", engine)
    best = result.best
    told = {"best": best["val_score"], "n_predictions": result.num_predictions, "chain_id": best["chain_id"]}
    told["by result"] = predicted(model=best, workspace_path=workspace)
    told["by chain"] = predicted(chain_id=best["chain_id"], workspace_path=workspace)
    bundle = result.export(folder / "chain.n4a", chain_id=best["chain_id"])
    if OLD:  # nirs4all 0.7 cannot read the bundle of a chain that it has written.
        told["by bundle"] = predicted(model=str(bundle))
    told["by result's bundle"] = predicted(model=str(result.export(folder / "best.n4a")))
    result.export(folder / "chain.n4a.py", format="n4a.py", chain_id=best["chain_id"])
    if OLD:
        told["branches"] = [*of_branches(folder)]
    with WorkspaceStore(workspace) as store:
        told["store"] = type(store).__module__
        told["replay"] = np.ravel(store.replay_chain(best["chain_id"], X_NEW)).tolist()
        told["predictions"] = len(store.query_predictions())
        if hasattr(store, "query_chain_summaries"):
            told["summaries"] = [
                row[:2] for row in store.query_top_chains().select("cv_val_score", "cv_fold_count").rows()
            ]
            told["read again"] = Predictions.from_workspace(workspace).num_predictions
        run = yaml.safe_load(store.export_run(store.list_runs()["run_id"][0], folder / "run.yaml").read_text())
        told["run"] = [run["name"], run["status"], len(run["pipelines"])]
        first = store.query_predictions()["prediction_id"][0]
        told["deleted"] = [store.delete_prediction(first), store.delete_prediction(first)]
        told["left"] = len(store.query_predictions())
    return told


if __name__ == "__main__":
    print(json.dumps(use(Path(sys.argv[1]), sys.argv[2])))  # noqa: T201
