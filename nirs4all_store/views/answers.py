"""What is said first of one thing: a line with what people look it up for. No printing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..chains import is_pruned
from ..storage import cause_of
from ..store import WorkspaceStore
from .drawings import title_of
from .judged import NOT_TRUSTED
from .listings import SCORES_OF_CHAINS, counted, score_text, targets_text, text_of, way_of, with_params
from .rankings import best_chains

BESIDE = ("rmsep", "rmsec", "r2", "rpd", "accuracy", "mcc")
"""What is told of a chain beside the score that it was judged by."""


def answer_of(store: WorkspaceStore, kind: str, values: Mapping[str, Any]) -> str:
    """Return what a thing is and how good it is, in one line.

    Parameters
    ----------
    store : WorkspaceStore
    kind : str
        The table.
    values : mapping
        All that is stored of it.
    """
    answers: dict[str, Callable[[WorkspaceStore, Mapping[str, Any]], str]] = {
        "runs": _of_run,
        "datasets": _of_dataset,
        "pipelines": _of_pipeline,
        "chains": _of_chain,
        "predictions": _of_prediction,
        "artifacts": lambda _, row: f"{row['operator_class']}, {row['artifact_type']}, {row['size_bytes']:,} bytes",
    }
    return answers[kind](store, values)


def _of_run(store: WorkspaceStore, run: Mapping[str, Any]) -> str:
    counts = store.run_progress(run["run_id"]).counts
    total, failed = sum(counts.values()), counts.get("failed", 0)
    told = f"run {run['name']}, {run['status']}: {counted(total, 'pipeline')}"
    told += f", {failed:,} failed" if failed else ""
    bests = best_chains(store, run["run_id"])
    return told + (f"; the best: {_of_one_chain(store, bests[0])}" if len(bests) == 1 else "")


def _of_dataset(_: WorkspaceStore, dataset: Mapping[str, Any]) -> str:
    counts = [
        counted(dataset[name], word)
        for name, word in (("n_samples", "sample"), ("n_features", "variable"))
        if dataset[name] is not None
    ]
    told = ", ".join([*counts, *filter(None, [targets_text(dataset)])])
    return f"dataset {dataset['name']}: {told}".removesuffix(": ")


def _of_pipeline(_: WorkspaceStore, pipeline: Mapping[str, Any]) -> str:
    told = f"{pipeline['name']} on {pipeline['dataset_name']}, {pipeline['status']}"
    if pipeline["error"]:
        return f"{told}: {cause_of(pipeline['error'])}"
    score = pipeline["best_val"]
    return told if score is None else f"{told}: {score_text(pipeline['metric'], score)}"


def _of_chain(store: WorkspaceStore, chain: Mapping[str, Any]) -> str:
    way = way_of(chain["preprocessings"], chain["model_class"])
    told = _of_one_chain(store, chain["chain_id"]) or f"{way}: no predictions are stored"
    told += "; its fitted objects are not kept, so that it cannot predict" if is_pruned(dict(chain)) else ""
    return told + (f"; {NOT_TRUSTED}" if store.untrusted_chains([chain["chain_id"]]) else "")


def _of_one_chain(store: WorkspaceStore, chain_id: str) -> str:
    """Return what a chain is and how good it is; nothing of one without predictions."""
    # In whatever order: it is one row, whose metric may be one of which nobody knows what is better.
    rows = store.rank_chains(ascending=True, copies=True, limit=1, chain_id=chain_id).rows.to_dicts()
    if not rows:
        return ""
    (row,) = rows
    target = f", {row['target']}" if row["target"] not in (None, row["dataset_name"]) else ""
    return f"{way_of(row['preprocessings'], with_params(row))} on {row['dataset_name']}{target}: {_scored(row)}"


def _of_prediction(_: WorkspaceStore, prediction: Mapping[str, Any]) -> str:
    partition, metric = prediction["partition"], prediction["metric"]
    score = prediction.get(f"{partition}_score")
    told = f": {metric} {text_of(score)}" if score is not None else ""
    size = "" if prediction["n_samples"] is None else f", {counted(prediction['n_samples'], 'sample')}"
    return f"{title_of(prediction)}{told}{size}"


def _scored(row: Mapping[str, Any]) -> str:
    """Return how good a chain is: by what it was judged, and the other scores that it has."""
    if row["val_score"] is None:
        return "no score of what the folds held out is stored"
    spread = "" if row["fold_sd"] is None else f" ±{row['fold_sd']:.2g} over {row['n_folds']:,} folds"
    told = [f"{score_text(row['metric'], row['val_score'])}{spread}"]
    beside = [name for name in BESIDE if row[name] is not None and name != row["metric"]]
    told += [f"{SCORES_OF_CHAINS[name]} {text_of(row[name])}" for name in beside]
    return ", ".join(told)
