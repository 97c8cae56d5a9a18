"""Compares what imported chains predict with what their training stored, and looks for files that nirs4all has lost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from ...chains import META_MODEL, ChainLoader, artifact_ids, with_ids
from ...errors import InvalidInputError, StoreError
from ...storage import Chain, UnitOfWork
from .objects import Import, add_lost_files
from .report import DIFFERS, DOUBTFUL, FAILS, NEEDS, NOT_CHECKED, VERIFIED

Row = dict[str, Any]
TOLERANCE = 1e-5
"""How far predictions may differ, relative to the largest: nirs4all trains on floats of 32 bits."""
MOST_TRIES = 1000
"""How many combinations of files without rows are tried for one chain."""
NO_FOLDS = ("", "all")
UNTRUSTED = "nobody has said that its objects may be loaded; import again, as trusted"
OTHER_SPECTRA = (
    "with these spectra its objects do not give what its training stored; if another dataset has the same name, give "
    "the spectra by the id of the run"
)


def check_run(job: Import, run_id: str) -> None:
    """Check the chains of a run that nobody has checked yet, and write down what was found."""
    with job.writing() as uow:
        for chain in uow.chains.of_run(run_id):
            told = chain["verification"] or {}
            if told.get("verdict") in (NOT_CHECKED, DOUBTFUL) or str(told.get("verdict")).startswith((NEEDS, DIFFERS)):
                found = _checked(uow, job, chain)
                if found != told:
                    uow.whole_rows.change(Chain, chain["chain_id"], {"verification": found})
                job.report.chains[chain["chain_id"]] = found


def _checked(uow: UnitOfWork, job: Import, chain: Row) -> Row:
    """Return what is told of a chain; objects are loaded only if somebody trusts them."""
    before: Row = chain["verification"]
    if not job.trust:
        return before | {"reason": UNTRUSTED}
    uow.artifacts.trust_also(artifact_ids(chain), job.trust)
    artifacts = uow.artifacts.get_many(artifact_ids(chain))
    loader = ChainLoader(uow.blobs)
    problem = next(filter(None, (_problem(loader, row) for row in artifacts.values())), None)
    if problem is not None:
        return problem
    pipeline = uow.runs.get_pipeline(chain["pipeline_id"]) or {}
    keys = (pipeline["run_id"], pipeline["dataset_hash"], pipeline["dataset_name"])
    X = next((job.spectra[key] for key in keys if key in job.spectra), None)
    if X is None:
        return before | {"reason": f"the spectra of {pipeline['dataset_name']!r} were not given"}
    stored = [*_stored(uow, chain, X)]
    if not stored:
        return before | {"reason": "its training stored no predictions of one model to compare with"}
    found = _compared(loader, chain, artifacts, stored)
    if found["verdict"] == DIFFERS:
        return _with_lost_files(uow, job, chain, stored) or found | {"reason": OTHER_SPECTRA}
    if found["verdict"] == VERIFIED:
        _name(uow, chain, chain | {"attachments": None})
    return found


def _problem(loader: ChainLoader, artifact: Row) -> Row | None:
    """Return what is told of a chain one of whose objects cannot be loaded here; None if this one can."""
    try:
        loader.load(artifact)
    except StoreError as error:
        cause = error.__cause__
        is_absent = isinstance(cause, ModuleNotFoundError) and cause.name
        verdict = f"{NEEDS} {str(cause.name).split('.')[0]}" if is_absent else FAILS  # type: ignore[union-attr]
        reason = (
            f"to load its {artifact['operator_class']}"
            if is_absent
            else f"{artifact['operator_class']}: {error!s:.300}"
        )
        return {"verdict": verdict, "reason": reason}
    return None


def _stored(uow: UnitOfWork, chain: Row, X: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give what single models of a chain predicted at their training: the fold, the spectra, and the predictions.

    Those of the test set, where there is one. A model over models is fitted on what others predict of samples that they
    have not seen, so that its predictions of the calibration cannot be given again.
    """
    folds = {fold.removeprefix("fold_") for fold in chain["fold_artifacts"]}
    rows = [row for row in uow.predictions.with_arrays(chain["chain_id"]) if row["y_pred"] is not None]
    rows = [row | {"fold": NO_FOLDS[1] if row["fold_id"] == NO_FOLDS[0] else row["fold_id"]} for row in rows]
    rows = [row for row in rows if row["fold"] in folds and len(row["y_pred"])]
    is_meta = chain["model_class"] == META_MODEL
    partitions = ("test",) if is_meta or any(row["partition"] == "test" for row in rows) else ("val", "train")
    for row in rows:
        places = row["sample_indices"]
        if row["partition"] in partitions and places is not None and len(places) and max(places) < len(X):
            yield row["fold"], X[np.asarray(places, dtype=int)], row["y_pred"]


def _compared(loader: ChainLoader, chain: Row, artifacts: dict[str, Row], stored: list[tuple[str, Any, Any]]) -> Row:
    worst = 0.0
    for fold, X, y_pred in stored:
        try:
            worst = max(worst, _difference(loader.fitted(chain, artifacts, fresh=False, folds=fold).predict(X), y_pred))
        except StoreError as error:
            return {"verdict": FAILS, "reason": f"fold {fold}: {error!s:.500}"}
    told: Row = {"verdict": VERIFIED if worst <= TOLERANCE else DIFFERS, "difference": worst, "compared": len(stored)}
    return told


def _difference(predicted: Any, stored: Any) -> float:
    """Return the largest difference of numbers relative to the largest of them, or the share of unequal classes."""
    predicted, stored = np.ravel(predicted), np.ravel(stored)
    if predicted.shape != stored.shape:
        return float("inf")
    if predicted.dtype.kind in "OUT" and stored.dtype.kind in "fiu":
        predicted = _codes(predicted, stored)
    if predicted.dtype.kind not in "fiub" or stored.dtype.kind not in "fiub":
        return float(np.mean(predicted.astype(str) != stored.astype(str)))
    scale = np.nanmax(np.abs(stored), initial=0) or 1.0
    same = (predicted == stored) | (np.isnan(predicted) & np.isnan(stored))
    far = np.where(same, 0.0, np.abs(predicted - stored))
    return float(np.max(np.nan_to_num(far, nan=np.inf), initial=0) / scale)


def _codes(words: Any, stored: Any) -> Any:
    """Return the numbers of classes that are text: nirs4all counts them in the order of the alphabet, and keeps these.

    A class that was never predicted here has a number, too: each class gets the number that most often stands for it,
    and if these are not in the order of the alphabet, there are none.
    """
    classes = np.unique(words)
    codes = [np.unique(stored[words == one], return_counts=True) for one in classes]
    numbers = np.array([values[np.argmax(counts)] for values, counts in codes])
    in_order = len(numbers) < 2 or bool(np.all(np.diff(numbers) > 0))
    return numbers[np.searchsorted(classes, words)] if in_order else np.full(len(words), np.nan)


def _with_lost_files(uow: UnitOfWork, job: Import, chain: Row, stored: list[tuple[str, Any, Any]]) -> Row | None:
    """Give a chain those files without rows that give its predictions, if only one choice of models does, and say so.

    nirs4all up to 1.0 names objects by the pipeline's name and steps, and ignores an object whose name it has: a second
    run of the same name names the first one's models, and its own lie there without a row.
    """
    bare = chain | {"attachments": None}
    own = uow.artifacts.get_many(artifact_ids(bare))
    contents: dict[str, bytes] = {}
    lost: dict[str, list[str]] = {}
    for artifact_id, row in own.items():
        lost[artifact_id] = add_lost_files(uow, job, contents, {(row["artifact_type"], row["operator_class"])})
    uow.blobs.put_many(contents)
    artifacts = own | uow.artifacts.get_many([item for ids in lost.values() for item in ids])
    fits = [*_fitting(ChainLoader(uow.blobs), bare, artifacts, lost, stored)]
    # A transformer that was fitted for the folds and again for the final model is two files that do the same.
    if len({str(with_ids(bare, fit)["fold_artifacts"]) for fit in fits}) != 1:
        return None
    changed = with_ids(bare, fits[0])
    _name(uow, chain, changed)
    taken = {old: artifacts[new]["artifact_path"] for old, new in fits[0].items() if old != new}
    found = _compared(ChainLoader(uow.blobs), changed, artifacts, stored)
    return found | {"replaced": taken, "reason": "the files that its run wrote were found without a row, and taken"}


def _name(uow: UnitOfWork, chain: Row, changed: Row) -> None:
    """Let a chain name other objects than before."""
    if artifact_ids(chain) != artifact_ids(changed):
        uow.artifacts.release(artifact_ids(chain))
        columns = ("steps", "fold_artifacts", "shared_artifacts", "attachments")
        uow.whole_rows.change(Chain, chain["chain_id"], {name: changed[name] for name in columns})
        uow.artifacts.claim(artifact_ids(changed))


def _fitting(
    loader: ChainLoader, chain: Row, artifacts: dict[str, Row], lost: dict[str, list[str]], stored: list[Any]
) -> Iterator[dict[str, str]]:
    """Give each choice of files with which every stored prediction comes out."""
    own = artifact_ids(chain)
    of_folds = {
        item for entry in chain["fold_artifacts"].values() for item in ([entry] if isinstance(entry, str) else entry)
    }
    shared = [item for item in own if item not in of_folds]
    choices = [[item, *lost.get(item, [])] for item in shared]
    if np.prod([len(ids) for ids in choices], initial=1) * sum(map(len, lost.values())) > MOST_TRIES:
        return
    folds = {fold.removeprefix("fold_"): entry for fold, entry in chain["fold_artifacts"].items()}
    same = {item: item for item in own}
    for choice in product(*choices):
        taken = same | dict(zip(shared, choice, strict=True))
        for fold, entry in folds.items():
            item = entry if isinstance(entry, str) else entry[-1]
            of_fold = [one for one in stored if one[0] == fold]
            good = [
                other
                for other in (item, *lost.get(item, []))
                if of_fold and _is_equal(loader, chain, artifacts, taken | {item: other}, of_fold)
            ]
            if len(good) != 1:
                break
            taken[item] = good[0]
        else:
            yield taken


def _is_equal(
    loader: ChainLoader, chain: Row, artifacts: dict[str, Row], taken: dict[str, str], stored: list[Any]
) -> bool:
    try:
        return bool(_compared(loader, with_ids(chain, taken), artifacts, stored)["verdict"] == VERIFIED)
    except InvalidInputError:
        return False
