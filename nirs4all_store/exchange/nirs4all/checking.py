"""Compares what imported chains predict with what their training stored, and looks for files that nirs4all has lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ...chains import ChainLoader, artifact_ids, as_ids, with_ids
from ...errors import ArtifactLoadError, StoreError, UntrustedArtifactError
from ...storage import Chain, UnitOfWork
from .objects import Contents, Import, add_lost_files
from .report import DIFFERS, DOUBTFUL, FAILS, NEEDS, NOT_CHECKED, VERIFIED

Row = dict[str, Any]
TOLERANCE = 1e-5
"""How far predictions may differ, relative to the largest: nirs4all trains on floats of 32 bits."""
OF_RANGE = 1e-3
"""How far, relative to the range of the predictions: values far from zero would hide all differences among them."""
ROUNDING = 8 * float(np.finfo(np.float32).eps)
MOST_TRIES = 20_000
"""How many combinations of files without rows are tried for one chain."""
NO_FOLDS = ("", "all")
UNTRUSTED = "nobody has said that its objects may be loaded; import again, as trusted"
REPLACED = "its objects were those of another run of the same name; the files that its own run wrote were taken"
OTHER_SPECTRA = (
    "with these spectra its objects do not give what its training stored; if another dataset has the same name, give "
    "the spectra by the id of the run"
)


@dataclass(frozen=True)
class Stored:
    """What one model of a chain predicted at its training."""

    fold: str
    X: Any
    y_pred: Any
    y_proba: Any


def check_run(job: Import, run_id: str) -> bool:
    """Check the chains of a run that are not verified yet; return whether anything is known that was not before."""
    changed = False
    with job.writing() as uow:
        for chain in uow.chains.of_run(run_id):
            told = chain["verification"] or {}
            if told.get("verdict") in (None, VERIFIED) or not artifact_ids(chain):
                continue
            found = _checked(uow, job, chain)
            if found != told:
                uow.whole_rows.change(Chain, chain["chain_id"], {"verification": found})
                changed = True
            job.report.chains[chain["chain_id"]] = found
    return changed


def _checked(uow: UnitOfWork, job: Import, chain: Row) -> Row:
    """Return what is told of a chain; objects are loaded only if somebody trusts them."""
    before: Row = chain["verification"]
    unknown = before if before["verdict"] == DOUBTFUL else {"verdict": NOT_CHECKED}
    if not job.trust:
        return before | {"reason": UNTRUSTED} if before["verdict"] in (NOT_CHECKED, DOUBTFUL) else before
    uow.artifacts.trust_also(artifact_ids(chain), job.trust)
    bare = chain | {"attachments": None}
    artifacts = uow.artifacts.get_many(artifact_ids(bare))
    loader = ChainLoader(uow.blobs)
    problem = next(filter(None, (_problem(loader, row) for row in artifacts.values())), None)
    if problem is not None:
        return unknown | problem
    keys = _keys(uow, chain)
    X = next((job.spectra[key] for key in keys if key in job.spectra), None)
    stored, reason = _stored(uow, chain, X) if X is not None else ([], f"the spectra of {keys[-1]!r} were not given")
    if reason:
        return before if before["verdict"] == DIFFERS else unknown | {"reason": reason}
    found = _compared(loader, bare, artifacts, stored)
    if found["verdict"] == DIFFERS:
        return _with_lost_files(uow, job, chain, stored, found)
    _name(uow, chain, bare)
    return found


def _keys(uow: UnitOfWork, chain: Row) -> list[Any]:
    """Return by what the spectra of a chain may be given: its run, the hash of its dataset, and its name.

    A final model over models has a dataset of their predictions; its spectra are those of its cross-validation.
    """
    judged = uow.chains.get(chain["refit_of"]) if chain["refit_of"] else None
    pipelines = [uow.runs.get_pipeline(one["pipeline_id"]) or {} for one in (chain, judged) if one is not None]
    return [pipeline.get(key) for pipeline in pipelines for key in ("run_id", "dataset_hash", "dataset_name")]


def _problem(loader: ChainLoader, artifact: Row) -> Row | None:
    """Return what is told of a chain one of whose objects cannot be loaded here; None if this one can."""
    try:
        loader.load(artifact)
    except UntrustedArtifactError as error:
        return {"reason": f"{artifact['operator_class']}: {error!s:.300}"}
    except ArtifactLoadError as error:
        cause, name = error.__cause__, artifact["operator_class"]
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return {"verdict": f"{NEEDS} {cause.name.split('.')[0]}", "reason": f"to load its {name}"}
        return {"verdict": FAILS, "reason": f"{name}: {error!s:.300}"}
    return None


def _stored(uow: UnitOfWork, chain: Row, X: Any) -> tuple[list[Stored], str]:
    """Return what each model of a chain that predicts has predicted at its training, or why nobody can compare.

    Those of the test set, where there is one. A model over models is fitted on what others predict of samples that they
    have not seen, so that its predictions of the calibration cannot be given again.
    """
    folds = [chain["predict_fold"]] if chain["predict_fold"] else [*chain["fold_artifacts"]]
    wanted = {fold.removeprefix("fold_") for fold in folds}
    rows = [row for row in uow.predictions.with_arrays(chain["chain_id"]) if _can_compare(row)]
    rows = [row | {"fold": NO_FOLDS[1] if row["fold_id"] == NO_FOLDS[0] else row["fold_id"]} for row in rows]
    rows = [row for row in rows if row["fold"] in wanted]
    tested = {row["fold"] for row in rows if row["partition"] == "test"}
    is_meta = any("models" in way for step in chain["steps"] for way in step.get("ways") or ())
    rows = [row for row in rows if row["partition"] == "test" or (row["fold"] not in tested and not is_meta)]
    if lacking := sorted(wanted - {row["fold"] for row in rows}):
        return [], f"its training stored no predictions to compare those of {', '.join(lacking)} with"
    most = max(int(np.max(row["sample_indices"])) for row in rows)
    if most >= len(X):
        return (
            [],
            f"its training saw at least {most + 1} samples, and the spectra are of {len(X)}: give the test set, too",
        )
    return [
        Stored(row["fold"], X[np.asarray(row["sample_indices"], dtype=int)], row["y_pred"], row["y_proba"])
        for row in rows
    ], ""


def _can_compare(row: Row) -> bool:
    """Tell whether a prediction says of which samples it is, and is more than NaN."""
    y_pred, places = row["y_pred"], row["sample_indices"]
    if y_pred is None or places is None or not len(places) or len(y_pred) != len(places):
        return False
    return y_pred.dtype.kind not in "f" or bool(np.isfinite(y_pred).any())


def _compared(loader: ChainLoader, chain: Row, artifacts: dict[str, Row], stored: Iterable[Stored]) -> Row:
    """Return whether a chain predicts what its training stored, and how far it is from it at most."""
    worst, is_equal, count = 0.0, True, 0
    for one in stored:
        try:
            fitted = loader.fitted(chain, artifacts, fresh=False, folds=one.fold)
            pairs = [(fitted.predict(one.X), one.y_pred)]
            if one.y_proba is not None:
                pairs.append((fitted.predict_proba(one.X), one.y_proba))
        except StoreError as error:
            return {"verdict": DIFFERS, "reason": f"{error!s:.500}"}
        for predicted, given in pairs:
            difference, is_near = _difference(predicted, given)
            worst, is_equal = max(worst, difference), is_equal and is_near
        count += 1
    return {"verdict": VERIFIED if is_equal else DIFFERS, "difference": worst, "compared": count}


def _difference(predicted: Any, stored: Any) -> tuple[float, bool]:
    """Return the largest difference relative to the largest value (of classes: how many differ), and if it is small."""
    predicted, stored = np.ravel(predicted), np.ravel(stored)
    if predicted.shape != stored.shape:
        return float("inf"), False
    if predicted.dtype.kind in "OUT" and stored.dtype.kind in "fiu":
        predicted = _codes(predicted, stored)
    if predicted.dtype.kind not in "fiub" or stored.dtype.kind not in "fiub":
        unequal = float(np.mean(predicted.astype(str) != stored.astype(str)))
        return unequal, unequal == 0
    known = stored[np.isfinite(stored)].astype(float)
    scale, span = float(np.max(np.abs(known), initial=0)) or 1.0, float(np.ptp(known)) if len(known) else 0.0
    same = (predicted == stored) | (np.isnan(predicted) & np.isnan(stored))
    far = np.nan_to_num(np.where(same, 0.0, np.abs(predicted - stored)), nan=np.inf)
    most = float(np.max(far, initial=0))
    allowed = min(TOLERANCE * scale, max(OF_RANGE * span, ROUNDING * scale)) if span else TOLERANCE * scale
    return most / scale, most <= allowed


def _codes(words: Any, stored: Any) -> Any:
    """Return the numbers of classes that are text: nirs4all counts them in the order of the alphabet, and keeps these.

    Each class gets the number that most often stands for it; if these are not in the order of the alphabet, there are
    none.
    """
    classes = np.unique(words)
    codes = [np.unique(stored[words == one], return_counts=True) for one in classes]
    numbers = np.array([values[np.argmax(counts)] for values, counts in codes])
    in_order = len(numbers) < 2 or bool(np.all(np.diff(numbers) > 0))
    return numbers[np.searchsorted(classes, words)] if in_order else np.full(len(words), np.nan)


def _with_lost_files(uow: UnitOfWork, job: Import, chain: Row, stored: list[Stored], found: Row) -> Row:
    """Give a chain those files that give its predictions, if only one choice of models does, and say so.

    nirs4all up to 1.0 names objects by the pipeline's name and steps, and ignores an object whose name it has: a second
    run of the same name names the first one's models, and its own lie there without a row, or with one of a third run.
    """
    bare = chain | {"attachments": None}
    loader = ChainLoader(uow.blobs)
    for all_files in (False, True):
        choices, artifacts = _choices(uow, job, bare, all_files=all_files)
        if (tries := _tries(bare, choices)) > MOST_TRIES:
            return {"reason": f"{OTHER_SPECTRA}; {tries:,} choices of files were too many to try"} | found
        fits = [*_fitting(loader, bare, artifacts, choices, stored)]
        # A transformer that was fitted for the folds and again for the final model is two files that do the same.
        if len({str(with_ids(bare, fit)["fold_artifacts"]) for fit in fits}) == 1:
            changed = with_ids(bare, fits[0])
            _name(uow, chain, changed)
            taken = {old: artifacts[new]["artifact_path"] for old, new in fits[0].items() if old != new}
            told = {"replaced": taken, "reason": REPLACED}
            return _compared(loader, changed, artifacts, stored) | told
    return {"reason": OTHER_SPECTRA} | found


def _choices(
    uow: UnitOfWork, job: Import, bare: Row, *, all_files: bool
) -> tuple[dict[str, list[str]], dict[str, Row]]:
    """Return for each object of a chain those that it might be: itself, lost ones of its class, or all of its class."""
    own = uow.artifacts.get_many(artifact_ids(bare))
    contents: Contents = {}
    choices: dict[str, list[str]] = {}
    for artifact_id, row in own.items():
        kind = {(row["artifact_type"], row["operator_class"])}
        others = add_lost_files(uow, job, contents, kind, all_files=all_files)
        choices[artifact_id] = list(dict.fromkeys([artifact_id, *others]))
    uow.blobs.put_many(contents)
    return choices, own | uow.artifacts.get_many({item for ids in choices.values() for item in ids})


def _name(uow: UnitOfWork, chain: Row, changed: Row) -> None:
    """Let a chain name other objects than before."""
    if artifact_ids(chain) != artifact_ids(changed):
        uow.artifacts.release(artifact_ids(chain))
        columns = ("steps", "fold_artifacts", "shared_artifacts", "attachments")
        uow.whole_rows.change(Chain, chain["chain_id"], {name: changed[name] for name in columns})
        uow.artifacts.claim(artifact_ids(changed))


def _shared_of(chain: Row) -> list[str]:
    of_folds = {item for entry in chain["fold_artifacts"].values() for item in as_ids(entry)}
    return [item for item in artifact_ids(chain) if item not in of_folds]


def _tries(chain: Row, choices: dict[str, list[str]]) -> int:
    shared = _shared_of(chain)
    of_shared = int(np.prod([len(choices[item]) for item in shared], initial=1))
    return of_shared * sum(len(ids) for item, ids in choices.items() if item not in shared)


def _fitting(
    loader: ChainLoader, chain: Row, artifacts: dict[str, Row], choices: dict[str, list[str]], stored: list[Stored]
) -> Iterator[dict[str, str]]:
    """Give each choice of files with which every stored prediction comes out."""
    shared = _shared_of(chain)
    same = {item: item for item in artifact_ids(chain)}
    models = {fold.removeprefix("fold_"): as_ids(entry)[-1] for fold, entry in chain["fold_artifacts"].items()}
    judged = {one.fold for one in stored}
    for choice in product(*(choices[item] for item in shared)):
        taken = same | dict(zip(shared, choice, strict=True))
        for fold in judged:
            of_fold = [one for one in stored if one.fold == fold]
            good = [
                other
                for other in choices[models[fold]]
                if _is_equal(loader, chain, artifacts, taken | {models[fold]: other}, of_fold)
            ]
            if len(good) != 1:
                break
            taken[models[fold]] = good[0]
        else:
            yield taken


def _is_equal(
    loader: ChainLoader, chain: Row, artifacts: dict[str, Row], taken: dict[str, str], stored: list[Stored]
) -> bool:
    return bool(_compared(loader, with_ids(chain, taken), artifacts, stored)["verdict"] == VERIFIED)
