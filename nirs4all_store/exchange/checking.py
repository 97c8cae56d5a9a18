"""Compares what chains predict with what their training stored; see docs/decisions/0032."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from shlex import quote
from typing import Any

import numpy as np
import sklearn

from ..artifacts import Trust
from ..chains import ChainLoader, FittedChain, all_classes, artifact_ids, on_classes
from ..errors import (
    ArtifactCorruptError,
    ArtifactLoadError,
    ArtifactMissingError,
    ChainReplayError,
    InvalidInputError,
    StoreError,
    UntrustedArtifactError,
    WorkspaceCorruptError,
)
from ..identifiers import utc_now
from ..storage import Chain, UnitOfWork
from .lost_files import Opening, Others, taken_instead, without_perhaps
from .samples import KeptSpectra, Samples
from .verdicts import DIFFERS, DOUBTFUL, FAILS, NEEDS, NO_FILES, NOT_CHECKED, UNDECIDED, VERIFIED

Row = dict[str, Any]
TOLERANCE = 1e-5
"""How far predictions may differ, relative to the largest: nirs4all trains on floats of 32 bits."""
OF_RANGE = 1e-3
"""How far, relative to the range of the predictions: values far from zero would hide all differences among them."""
ROUNDING = 8 * float(np.finfo(np.float32).eps)
ODD = (
    ArtifactLoadError,
    ChainReplayError,
    InvalidInputError,
    WorkspaceCorruptError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)
"""What is raised by rows that came from elsewhere, or were damaged: it is told of their chain alone."""
NO_FOLDS = ("", "all")
WHEN = ("checked_at", "versions")
"""What a verdict says of the moment at which it was found."""
HOW = "nirs4all-store verify --trusted --spectra"
UNTRUSTED = f"nobody has said that its objects may be loaded; `{HOW} DATASET=FILE` does, and checks it"
NOT_GIVEN = "the spectra of {0!r} were not given; `{1}` checks it"
NOT_KEPT = (
    "the spectra of {0!r} are not kept, or cannot be read; `nirs4all-store dataset attach FILE` keeps those that "
    "training saw"
)
OTHER_SPECTRA = (
    "with these spectra its objects do not give what its training stored; if another dataset has the same name, give "
    f"the spectra by the id of the run: `{HOW} {{0}}`"
)
OTHER_PREDICTIONS = (
    "with the spectra that are kept it predicts other values than its training stored; environment() says which "
    "packages have other versions now"
)


@dataclass(frozen=True)
class Given:
    """With what chains are checked.

    Attributes
    ----------
    trust : True, list of str or None
        What imported objects may import when they are loaded, beside what was trusted before.
    spectra : mapping of str to Samples
        By the run, the hash or the name of the dataset.
    others : sequence of callable
        Each gives objects that might be those that a chain should name; the first are tried first.
    kept : KeptSpectra
        The spectra that the workspace keeps.
    """

    trust: Trust
    spectra: Mapping[str, Samples]
    others: Sequence[Others]
    kept: KeptSpectra


@dataclass(frozen=True)
class Stored:
    """What one model of a chain predicted at its training."""

    fold: str
    X: Any
    y_pred: Any
    y_proba: Any
    classes: Any


def check_chain(opening: Opening, chain: Row, given: Given) -> tuple[Row, Row | None]:
    """Return what is told of a chain, and the chain with the objects that it shall name if these give its predictions.

    Imported objects are loaded only if somebody trusts them, as `given` does from now on. To load them and to predict
    may take long: no unit of work is open meanwhile, so that nobody waits for it.

    Parameters
    ----------
    opening : callable
        Opens a unit of work to write in.
    chain : dict
    given : Given

    Returns
    -------
    tuple of dict and (dict or None)
        `verdict`, and what belongs to it, see `ImportReport`; None for a chain that is not verified.
    """
    try:
        return _check(opening, chain, given)
    except ODD as error:
        return {"verdict": FAILS, "reason": f"it cannot be checked: {error!r:.300}"}, None


def _check(opening: Opening, chain: Row, given: Given) -> tuple[Row, Row | None]:
    if not artifact_ids(chain):
        return _without_files(chain), None
    bare = without_perhaps(chain)
    with opening() as uow:
        samples, if_different, if_absent = _samples(uow, chain, given)
        stored, reason = ([], if_absent) if samples is None else _stored(uow, chain, samples)
        uow.artifacts.trust_also(artifact_ids(chain), given.trust or [])
        artifacts = uow.artifacts.get_many(artifact_ids(bare))
        loader = ChainLoader(uow.blobs)
    unknown = {"verdict": DOUBTFUL if _known(chain).get("verdict") == DOUBTFUL else NOT_CHECKED}
    problem = next(filter(None, (_problem(loader, row) for row in artifacts.values())), None)
    if problem is not None:
        return unknown | problem, None
    if reason:
        return unknown | {"reason": reason}, None
    found = _compared(loader, bare, artifacts, stored)
    if found["verdict"] == VERIFIED:
        return found, bare
    folds = list(dict.fromkeys(one.fold for one in stored))
    taken, told = taken_instead(opening, chain, given.others, folds, partial(_gives, loader, stored))
    if taken is None:
        return {"reason": "; ".join([if_different, *told.values()])} | found, None
    own, artifacts = taken
    return _compared(loader, own, artifacts, stored) | told, own


def check_and_keep(opening: Opening, chain: Row, given: Given) -> tuple[Row, bool] | None:
    """Check a chain and store what is found; return it, and whether it is new.

    None: somebody has deleted the chain meanwhile, or let it name other objects.
    """
    found, own = check_chain(opening, chain, given)
    with opening() as uow:
        now = uow.chains.get(chain["chain_id"])
        if now is None or artifact_ids(now) != artifact_ids(chain):
            return None
        return found, keep_verdict(uow, now, found, own)


def keep_verdict(uow: UnitOfWork, chain: Row, found: Row, own: Row | None) -> bool:
    """Store what is told of a chain, and let it name its own objects; return whether other things are told than before.

    That it cannot be compared now says nothing of a chain that was compared before, nor of one that nobody doubts.
    """
    before = _known(chain)
    is_left = found["verdict"] in UNDECIDED and before.get("verdict") in (None, VERIFIED, DIFFERS)
    if is_left or not artifact_ids(chain):
        return False
    if own is not None:
        _name(uow, chain, own)
    uow.whole_rows.change(Chain, chain["chain_id"], {"verification": found | _now(found)})
    return found != {name: value for name, value in before.items() if name not in WHEN}


def _known(chain: Row) -> Row:
    """Return what was told of a chain before; of a damaged row, nothing."""
    return told if isinstance(told := chain["verification"], dict) else {}


def _now(found: Row) -> Row:
    """Return what a verdict says of its moment, if it is of a comparison."""
    if found["verdict"] not in (VERIFIED, DIFFERS):
        return {}
    versions = {"numpy": np.__version__, "sklearn": sklearn.__version__}
    return {"checked_at": utc_now().isoformat(timespec="seconds"), "versions": versions}


def _without_files(chain: Row) -> Row:
    before = _known(chain)
    if before.get("verdict") in (NO_FILES, FAILS):
        return before
    return {"verdict": NO_FILES, "reason": "its fitted objects were not kept, or were removed"}


def _samples(uow: UnitOfWork, chain: Row, given: Given) -> tuple[Samples | None, str, str]:
    """Return the spectra for a chain, and what is told if with these it differs, and if there are none.

    Of a dataset whose samples are known they are those that the workspace keeps: a hash tells that they are the same.
    Others are given by the run, the hash of the dataset, or its name. A final model over models has a dataset of their
    predictions; its spectra are those of its cross-validation.
    """
    judged = uow.chains.get(chain["refit_of"]) if chain["refit_of"] else None
    pipelines = [uow.runs.get_pipeline(one["pipeline_id"]) or {} for one in (chain, judged) if one is not None]
    dataset = uow.datasets.get(pipelines[0].get("dataset_id") or "") or {}
    if dataset.get("samples_artifact") is not None:
        return given.kept.of(uow, dataset), OTHER_PREDICTIONS, NOT_KEPT.format(dataset["name"])
    keys = [str(pipeline.get(key)) for pipeline in pipelines for key in ("run_id", "dataset_hash", "dataset_name")]
    samples = next((given.spectra[key] for key in keys if key in given.spectra), None)
    how = f"{HOW} {quote(f'{keys[-1]}=FILE')}"
    if _known(chain).get("verdict") in (None, VERIFIED):  # It does not wait, so that it is checked only if named.
        how = how.replace("verify", f"verify {quote(keys[0])}", 1)
    of_run = OTHER_SPECTRA.format(quote(f"{keys[0]}=FILE"))
    return samples, of_run, NOT_GIVEN.format(keys[-1], how)


def _problem(loader: ChainLoader, artifact: Row) -> Row | None:
    """Return what is told of a chain one of whose objects cannot be loaded here; None if this one can."""
    name = artifact["operator_class"]
    try:
        loader.load(artifact)
    except UntrustedArtifactError as error:
        return {"reason": UNTRUSTED if artifact["trust"] == [] else f"{name}: {error!s:.300}"}
    except (ArtifactMissingError, ArtifactCorruptError) as error:
        return {"verdict": NO_FILES, "reason": f"{error!s:.300}"}
    except ArtifactLoadError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return {"verdict": f"{NEEDS} {cause.name.split('.')[0]}", "reason": f"to load its {name}"}
        return {"verdict": FAILS, "reason": f"{name}: {error!s:.300}"}
    return None


def _stored(uow: UnitOfWork, chain: Row, samples: Samples) -> tuple[list[Stored], str]:
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
    if not wanted:
        return [], "its row names no model that predicts"
    if lacking := sorted(wanted - {row["fold"] for row in rows}):
        return [], f"its training stored no predictions to compare those of {', '.join(lacking)} with"
    stored = []
    for row in rows:
        places = samples.places(row)
        if places is None:
            most, count = int(np.max(row["sample_indices"])) + 1, len(samples.X)
            saw = f"its training saw at least {most} samples, and the spectra are of {count}"
            return [], f"{saw}: give the whole calibration, then the test set"
        stored.append(Stored(row["fold"], samples.X[places], row["y_pred"], row["y_proba"], row["classes"]))
    return stored, ""


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
                pairs.append((_probabilities(fitted, one), one.y_proba))
        except StoreError as error:
            # Without its id: chains of which the same is told stand in one line.
            return {"verdict": DIFFERS, "reason": f"{error!s:.500}".removeprefix(f"chain {chain['chain_id']}: ")}
        for predicted, given in pairs:
            difference, is_near = _difference(predicted, given)
            worst, is_equal = max(worst, difference), is_equal and is_near
        count += 1
    return {"verdict": VERIFIED if is_equal else DIFFERS, "difference": worst, "compared": count}


def _probabilities(fitted: FittedChain, one: Stored) -> Any:
    """Return the probabilities of the classes of which some are stored: a fold may have seen fewer."""
    found = fitted.predict_proba(one.X)
    own = None if one.classes is None or isinstance(found, list) else all_classes(fitted.models)
    if own is None or not np.isin(own, one.classes).all():
        return found
    wide = on_classes(found, own, one.classes)
    return found if wide is None else wide


def _gives(loader: ChainLoader, stored: list[Stored], chain: Row, artifacts: dict[str, Row], fold: str) -> bool:
    """Tell whether a chain with these artifacts gives what its training stored of a fold."""
    of_fold = [one for one in stored if one.fold == fold]
    return bool(_compared(loader, chain, artifacts, of_fold)["verdict"] == VERIFIED)


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


def _name(uow: UnitOfWork, chain: Row, changed: Row) -> None:
    """Let a chain name other objects than before."""
    if artifact_ids(chain) != artifact_ids(changed):
        uow.artifacts.release(artifact_ids(chain))
        columns = ("steps", "fold_artifacts", "shared_artifacts", "attachments")
        uow.whole_rows.change(Chain, chain["chain_id"], {name: changed[name] for name in columns})
        uow.artifacts.claim(artifact_ids(changed))
