"""Finds which files are the fitted objects of a chain that names others.

nirs4all up to 1.0 names objects by the pipeline's name and steps, and ignores an object whose name it has: a second run
of the same name names the first one's models, and its own lie there without a row, or with one of a third run. Why what
is taken: docs/decisions/0032.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import numpy as np

from ..chains import artifact_ids, as_ids, with_ids
from ..storage import UnitOfWork

Row = dict[str, Any]
Kind = tuple[str, str]
"""The type and the class of a fitted object."""
Opening = Callable[[], AbstractContextManager[UnitOfWork]]
"""Opens a unit of work, or gives the one that is open."""
Others = Callable[[UnitOfWork, Row, Kind], list[str]]
"""Gives the ids of objects of a kind that might be a chain's own."""
IsEqual = Callable[[Row, dict[str, Row], str], bool]
"""Tells whether a chain with these artifacts gives what its training stored of a fold."""
MOST_TRIES = 20_000
"""How many combinations of files are tried for one chain."""
PERHAPS = "perhaps its own"
"""How the roles begin of objects that a chain may have lost."""
REPLACED = "its objects were those of another run of the same name; the files that its own run wrote were taken"


def perhaps(ids: Sequence[str]) -> dict[str, str] | None:
    """Return the attachments of a chain that keeps these objects until it is verified."""
    return {f"{PERHAPS} {number}": item for number, item in enumerate(dict.fromkeys(ids), 1)} or None


def without_perhaps(chain: Row) -> Row:
    """Return a chain without the objects that it may have lost."""
    attachments = chain["attachments"] or {}
    return chain | {"attachments": {k: v for k, v in attachments.items() if not k.startswith(PERHAPS)} or None}


def attached(uow: UnitOfWork, chain: Row, kind: Kind) -> list[str]:
    """Return the objects of a kind that a chain may have lost, as its attachments say."""
    ids = [item for role, item in (chain["attachments"] or {}).items() if role.startswith(PERHAPS)]
    rows = uow.artifacts.get_many(ids)
    return [item for item, row in rows.items() if (row["artifact_type"], row["operator_class"]) == kind]


def taken_instead(
    opening: Opening, chain: Row, others: Sequence[Others], folds: Sequence[str], is_equal: IsEqual
) -> tuple[tuple[Row, dict[str, Row]] | None, Row]:
    """Return a chain with those objects that give its predictions, if only one choice of models does, and what is told.

    Parameters
    ----------
    opening : callable
        Opens a unit of work; none is open while choices are tried.
    chain : dict
    others : sequence of callable
    folds : sequence of str
        Those whose predictions are stored.
    is_equal : callable
    """
    bare = without_perhaps(chain)
    for more in others:
        with opening() as uow:
            choices, artifacts = _choices(uow, chain, more)
        if all(len(ids) == 1 for ids in choices.values()):
            continue
        if (tries := _tries(bare, choices)) > MOST_TRIES:
            return None, {"reason": f"{tries:,} choices of files were too many to try"}
        fits = [*_fitting(bare, artifacts, choices, folds, is_equal)]
        # A transformer that was fitted for the folds and again for the final model is two files that do the same.
        if len({str(with_ids(bare, fit)["fold_artifacts"]) for fit in fits}) == 1:
            paths = {old: artifacts[new]["artifact_path"] for old, new in fits[0].items() if old != new}
            return (with_ids(bare, fits[0]), artifacts), {"replaced": paths, "reason": REPLACED}
    return None, {}


def _choices(uow: UnitOfWork, chain: Row, others: Others) -> tuple[dict[str, list[str]], dict[str, Row]]:
    """Return for each object of a chain those that it might be, itself first, and the rows of all."""
    own = uow.artifacts.get_many(artifact_ids(without_perhaps(chain)))
    choices = {
        artifact_id: list(
            dict.fromkeys([artifact_id, *others(uow, chain, (row["artifact_type"], row["operator_class"]))])
        )
        for artifact_id, row in own.items()
    }
    return choices, own | uow.artifacts.get_many({item for ids in choices.values() for item in ids})


def _shared_of(chain: Row) -> list[str]:
    of_folds = {item for entry in chain["fold_artifacts"].values() for item in as_ids(entry)}
    return [item for item in artifact_ids(chain) if item not in of_folds]


def _tries(chain: Row, choices: dict[str, list[str]]) -> int:
    shared = _shared_of(chain)
    of_shared = int(np.prod([len(choices[item]) for item in shared], initial=1))
    return of_shared * sum(len(ids) for item, ids in choices.items() if item not in shared)


def _fitting(
    chain: Row,
    artifacts: dict[str, Row],
    choices: dict[str, list[str]],
    folds: Sequence[str],
    is_equal: IsEqual,
) -> Iterator[dict[str, str]]:
    """Give each choice of files with which every stored prediction comes out."""
    shared = _shared_of(chain)
    same = {item: item for item in artifact_ids(chain)}
    models = {fold.removeprefix("fold_"): as_ids(entry)[-1] for fold, entry in chain["fold_artifacts"].items()}
    for choice in product(*(choices[item] for item in shared)):
        taken = same | dict(zip(shared, choice, strict=True))
        for fold in folds:
            good = [
                other
                for other in choices[models[fold]]
                if is_equal(with_ids(chain, taken | {models[fold]: other}), artifacts, fold)
            ]
            if len(good) != 1:
                break
            taken[models[fold]] = good[0]
        else:
            yield taken
