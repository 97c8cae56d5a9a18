"""Compares what nirs4all has stored while it trained with what our replay of each chain gives; prints JSON.

`python nirs4all_checking.py WORKSPACE`
"""

import json
import sys

import numpy as np
from nirs4all_training import X, Y

from nirs4all_store import WorkspaceStore

TOGETHER = ("avg", "w_avg")


def comparable(row, chain):
    """Tell whether the objects of a chain must give a stored prediction again, from the spectra that it tells of."""
    if row["fold_id"] in TOGETHER or row["fold_id"].endswith("_agg") or not chain["fold_artifacts"]:
        return False
    # A model over models is fitted on what the others said of samples that they had not seen.
    if chain["model_class"] == "MetaModel" and row["partition"] != "test":
        return False
    # Without folds, nirs4all 0.7 counts the samples of `val` within the test part.
    counts_from_test = row["fold_id"] == "" and row["partition"] == "val"
    is_final_only = "final" in chain["fold_artifacts"]  # The newer engine keeps no models of folds.
    return not counts_from_test and (row["fold_id"] == "final" or not is_final_only)


def difference(predicted, stored):
    """Return the largest difference relative to the spread of Y; words are compared by their numbers."""
    if predicted.dtype.kind not in "fiu" and np.asarray(stored).dtype.kind in "fiu":
        predicted = np.searchsorted(["high", "low"], predicted)
    if predicted.dtype.kind not in "fiu":
        return float(np.mean(predicted.astype(str) != np.asarray(stored).astype(str)))
    return float(np.max(np.abs(predicted.ravel() - np.ravel(stored))) / Y.std())


def check(store):
    """Return the findings of a deep check, and for each pipeline its status and how its chains replay."""
    found = {"findings": [str(finding) for finding in store.check(deep=True).findings], "pipelines": []}
    for pipeline in store.list_pipelines().iter_rows(named=True):
        told = {"name": pipeline["name"], "status": pipeline["status"], "compared": 0, "worst": 0.0, "failed": []}
        for chain_id in store.get_chains_for_pipeline(pipeline["pipeline_id"])["chain_id"]:
            chain = store.get_chain(chain_id)
            for prediction_id in store.query_predictions(chain_id=chain_id)["prediction_id"]:
                row = store.get_prediction(prediction_id, load_arrays=True)
                if comparable(row, chain):
                    compare(store, chain_id, row, told)
        found["pipelines"].append(told)
    return found


def compare(store, chain_id, row, told):
    """Replay a chain for the samples of a stored prediction, and add to what is told what came of it."""
    try:
        predicted = store.replay_chain(chain_id, X[row["sample_indices"]], folds=row["fold_id"] or "fold_all")
    except Exception as error:
        told["failed"].append(str(error))
        return
    told["compared"] += 1
    told["worst"] = max(told["worst"], difference(predicted, row["y_pred"]))


if __name__ == "__main__":
    with WorkspaceStore(sys.argv[1]) as store:
        print(json.dumps(check(store)))  # noqa: T201
