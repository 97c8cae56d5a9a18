"""Two chains, or two runs, side by side, as people read them: scores first, then what else differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ..store import WorkspaceStore
from .details import FOR_PROGRAMS, apart, details_of, differences, without_owner
from .listings import SCORES_OF_CHAINS, Listing, text_of, way_of, with_params
from .rankings import best_chains

if TYPE_CHECKING:
    from ..chains import ChainComparison

ABOUT = {"model_name": "model", "preprocessings": "preprocessing", "dataset_name": "dataset", "run_name": "run"}
DIFFERENCE = {"difference": "difference of errors", "lower": "from (95 %)", "upper": "to (95 %)"}
"""What is told of the errors of two chains for the same samples."""
SAYS_LITTLE = (*FOR_PROGRAMS, ".hash", "_at", "_ms", "_pipelines")
"""How the names end of what differs between any two runs, or is told otherwise."""
ONLY_WITHOUT = {"val_score": "rmsecv"}
"""What says nothing where there is the other."""


def compare_chains(store: WorkspaceStore, one: str, other: str, *, ids: bool = False) -> Listing:
    """Return two chains side by side, and in notes how their errors for the same samples differ.

    Parameters
    ----------
    store : WorkspaceStore
    one, other : str
        Ids of chains.
    ids : bool
        Also tell where all that is stored of them differs: ids, times, artifacts.
    """
    found = store.compare_chains([one, other])
    rows = [*_scores(found), *_about(found), *_errors(found)]
    rows += [*(_folds(found) if _is_one_metric(found) else []), *_steps(found)]
    if ids:
        rows += differences(details_of(store, "chains", one), details_of(store, "chains", other))
    return _side_by_side(rows, _sentences(found))


def compare_runs(store: WorkspaceStore, one: str, other: str, *, ids: bool = False) -> Listing:
    """Return two runs side by side: their best models as `compare_chains` does, then where the runs differ.

    Parameters
    ----------
    store : WorkspaceStore
    one, other : str
        Ids of runs.
    ids : bool
        Also tell where ids, hashes and times differ.
    """
    first, second = (store.run_progress(name).counts for name in (one, other))
    rows: list[tuple[str, Any, Any]] = [("pipelines", sum(first.values()), sum(second.values()))]
    if "failed" in first or "failed" in second:
        rows.append(("failed", first.get("failed", 0), second.get("failed", 0)))
    notes: list[str] = []
    bests = best_chains(store, one), best_chains(store, other)
    if len(bests[0]) == len(bests[1]) == 1:
        found = store.compare_chains([*bests[0], *bests[1]])
        way, other_way = (way_of(row["preprocessings"], with_params(row)) for row in found.scores.to_dicts())
        rows += [("the best", way, other_way), *_scores(found), *_errors(found)]
        notes = _sentences(found)
    ours, theirs = (without_owner(details_of(store, "runs", name)) for name in (one, other))
    rows += [row for row in differences(ours, theirs) if ids or not row[0].endswith(SAYS_LITTLE)]
    return _side_by_side(rows, notes)


def _side_by_side(rows: list[tuple[str, Any, Any]], notes: list[str]) -> Listing:
    texts = [(what, *_texts(a, b)) for what, a, b in rows]
    told, table = (
        pl.DataFrame(data, schema={"what": pl.String, "one": kind, "other": kind}, orient="row")
        for data, kind in ((rows, pl.Object), (texts, pl.String))
    )
    return Listing(told, table, notes)


def _errors(found: ChainComparison) -> list[tuple[str, Any, Any]]:
    """Return the mean errors for the same samples, and their difference with the bounds of its interval."""
    rows: list[tuple[str, Any, Any]] = []
    for row in [] if found.paired is None else found.paired.to_dicts():
        rows.append((f"mean error, {row['target']}", row["first"], row["other"]))
        rows += [(f"{title}, {row['target']}", None, row[name]) for name, title in DIFFERENCE.items()]
    return rows


def _scores(found: ChainComparison) -> list[tuple[str, Any, Any]]:
    first, second = found.scores.to_dicts()
    told = [
        name
        for name in SCORES_OF_CHAINS
        if _is_told(name, first, second) and (name != "val_score" or _is_one_metric(found))
    ]
    return [(SCORES_OF_CHAINS[name], first[name], second[name]) for name in told]


def _about(found: ChainComparison) -> list[tuple[str, Any, Any]]:
    first, second = found.scores.to_dicts()
    return [(title, first[name], second[name]) for name, title in ABOUT.items() if first[name] != second[name]]


def _is_one_metric(found: ChainComparison) -> bool:
    """Tell whether both were judged by the same metric: R² beside RMSE would look like a comparison."""
    return found.scores["metric"].n_unique() == 1


def _is_told(name: str, *chains: Mapping[str, Any]) -> bool:
    better = ONLY_WITHOUT.get(name)
    is_needed = better is None or any(chain[better] is None for chain in chains)
    return is_needed and any(chain[name] is not None for chain in chains)


def _folds(found: ChainComparison) -> list[tuple[str, Any, Any]]:
    return [(f"fold {fold}", one, other) for fold, one, other in found.folds.iter_rows()]


def _steps(found: ChainComparison) -> list[tuple[str, Any, Any]]:
    return [(f"step {step}", one, other) for _, step, one, other in found.steps.iter_rows()]


def _texts(one: Any, other: Any) -> tuple[str, str]:
    return (text_of(one), text_of(other)) if isinstance(one, float | None) or one == other else apart(one, other)


def _sentences(found: ChainComparison) -> list[str]:
    if found.paired is None:
        return [str(found.not_paired)]
    total = max(found.scores["n_samples"].drop_nulls().to_list(), default=0)
    return [
        f"{row['target']}: for {row['n_better']:,} of {row['n']:,} samples{_left_out(row['n'], total)} the other errs "
        f"less, for {row['n_worse']:,} more; on average {text_of(row['first'])} and {text_of(row['other'])}, a "
        f"difference of {row['difference']:+.3g}{_interval(row)}"
        for row in found.paired.to_dicts()
    ]


def _left_out(n: int, total: int) -> str:
    return f" (of {total:,}: the others have no value or no prediction)" if n < total else ""


def _interval(row: Mapping[str, Any]) -> str:
    if row["lower"] is None:
        return ""
    clear = "the first" if row["lower"] > 0 else "the other" if row["upper"] < 0 else None
    verdict = f": {clear} errs less" if clear else ": too little to tell them apart"
    return f" (95 %: {row['lower']:+.3g} to {row['upper']:+.3g}){verdict}"
