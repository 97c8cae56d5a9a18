"""By what models are judged: how often a cross-validator holds out each sample, and what tells its folds from others.

Why repeats are scored one by one: docs/decisions/0023.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..datasets import TrainingData
from ..metrics import WEIGHTED, repeats_of

Folds = list[tuple[Any, Any]]
"""Of each fold the places in X to train on, and those to validate with, as arrays of int."""


def coverage_of(folds: Folds, n_samples: int) -> dict[str, int] | None:
    """Return how many samples are held out never, and how many several times; None if all are, once a repeat."""
    parts = [held_out for _, held_out in folds]
    if repeats_of(parts, n_samples):
        return None
    times = np.bincount(np.concatenate(parts), minlength=n_samples)
    return {"never": int(np.sum(times == 0)), "several": int(np.sum(times > 1))}


def judged_by(splitter: Any, folds: Folds, data: TrainingData, *, weighted: bool = False) -> dict[str, Any]:
    """Return what is stored of how a pipeline is judged.

    Returns
    -------
    dict
        `splitter` (as text), `folds` (a hash of which samples each fold trains on and holds out, and of `weighted`),
        `n_splits`, `targets` (their names, None if they have none), and `n_repeats` or, of folds that do not hold out
        each sample once a repeat, `coverage`; `weighted`, True where the weights of samples count in the scores.
    """
    digest = hashlib.sha256(b"weighted" if weighted else b"")
    for part in (part for fold in folds for part in fold):
        rows = np.asarray(data.rows)[part].astype("<i8")
        digest.update(len(rows).to_bytes(8, "little") + rows.tobytes())
    # Of a split that the data have, nobody reads a number for each sample.
    is_given = data.validates is not None
    text = f"split of the data: {len(folds[0][1])} of {len(data.X)} validate" if is_given else repr(splitter)
    told: dict[str, Any] = {
        "splitter": type(splitter).__name__ if " at 0x" in text else text,
        "folds": digest.hexdigest(),
        "n_splits": len(folds),
        "targets": data.target_names,
    }
    told |= {WEIGHTED: True} if weighted else {}
    repeats = repeats_of([held_out for _, held_out in folds], len(data.X))
    return told | ({"n_repeats": len(repeats)} if repeats else {"coverage": coverage_of(folds, len(data.X))})
