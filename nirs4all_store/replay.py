"""A stored chain and new data give predictions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from . import codecs
from .blobs import Blobs
from .chain_shape import as_ids, is_fitted_per_fold
from .errors import ArtifactLoadError, ChainReplayError
from .fitted import FittedChain

CACHE_BYTES = 256 * 2**20

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Which artifacts a chain applies, in which order.

    Attributes
    ----------
    shared : list of (str, str)
        A label for messages, and an artifact id.
    folds : dict of str to list of (str, str)
        The same for each fold, the model last.
    """

    shared: list[tuple[str, str]]
    folds: dict[str, list[tuple[str, str]]]

    @property
    def ids(self) -> list[str]:
        """Every artifact that is applied, each once."""
        entries = [*self.shared, *(entry for fold in self.folds.values() for entry in fold)]
        return list(dict.fromkeys(artifact_id for _, artifact_id in entries))


def plan(chain: Row) -> Plan:
    """Say what replaying a chain applies.

    Parameters
    ----------
    chain : dict
        As `ChainRepo.get` gives it.

    Raises
    ------
    ChainReplayError
        It has no model, or a step that transforms X has nothing to do it with.
    """
    shared_artifacts = chain["shared_artifacts"] or {}
    before_model = sorted(
        (step for step in chain["steps"] if step["step_idx"] < chain["model_step_idx"]),
        key=lambda step: int(step["step_idx"]),
    )
    return Plan(_shared_entries(before_model, shared_artifacts), _fold_entries(chain, before_model, shared_artifacts))


def _shared_entries(before_model: list[Row], shared_artifacts: Row) -> list[tuple[str, str]]:
    entries: list[tuple[str, str]] = []
    done: set[str] = set()
    for step in before_model:
        idx = str(step["step_idx"])
        shared = as_ids(shared_artifacts.get(idx))
        # nirs4all 0.7 lists under a step's `artifact_ids` what belongs to other models of the pipeline.
        own = as_ids(step.get("artifact_id"))
        if shared and not set(own) <= set(shared):
            raise ChainReplayError(
                f"{_label(step)} names the artifact {own}, shared_artifacts[{idx!r}] only {shared}; save it again"
            )
        if shared:  # Several steps may share an index: what is under it is applied once.
            ids = [] if idx in done else shared
            done.add(idx)
        else:
            ids = own
        entries += [(_label(step), artifact_id) for artifact_id in ids]
    return entries


def _fold_entries(chain: Row, before_model: list[Row], shared_artifacts: Row) -> dict[str, list[tuple[str, str]]]:
    name, model_idx = f"chain {chain['chain_id']}", chain["model_step_idx"]
    folds = {fold: as_ids(entry) for fold, entry in (chain["fold_artifacts"] or {}).items()}
    if not folds:  # One model without folds.
        models = [step for step in chain["steps"] if step["step_idx"] == model_idx]
        own = [item for step in models for item in as_ids(step.get("artifact_id"))]
        folds = {"all": as_ids(shared_artifacts.get(str(model_idx))) or own}
    per_fold = [step for step in before_model if is_fitted_per_fold(step, shared_artifacts)]
    for fold, ids in folds.items():
        if not ids:
            raise ChainReplayError(f"{name} has no model for fold {fold}; train and save it again")
        if len(ids) <= len(per_fold):
            raise ChainReplayError(
                f"{name}: {_label(per_fold[len(ids) - 1])} is not stateless, but none of its fitted objects is stored "
                f"for fold {fold}; train and save the chain again"
            )
    model = f"model {chain['model_class']}"
    return {fold: [*((f"artifact {item}", item) for item in ids[:-1]), (model, ids[-1])] for fold, ids in folds.items()}


def _label(step: Row) -> str:
    return f"step {step['step_idx']} ({step.get('operator_class')})"


class ChainLoader:
    """Turns plans into fitted objects, and keeps loaded objects for the next replay.

    Parameters
    ----------
    blobs : Blobs
    max_bytes : int
        Objects are kept, least recently used first out, as long as their files add up to no more.
    """

    def __init__(self, blobs: Blobs, max_bytes: int = CACHE_BYTES) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def fitted(self, chain: Row, artifacts: dict[str, Row], *, fresh: bool) -> FittedChain:
        """Load what a chain applies.

        Parameters
        ----------
        chain : dict
        artifacts : dict of str to dict
            The artifacts' rows by id.
        fresh : bool
            Load every object anew, for a caller who may change it, instead of sharing kept ones.

        Raises
        ------
        ChainReplayError
            It cannot replay as it is stored.
        ArtifactLoadError
            An artifact's file is missing, damaged, or cannot be turned into an object here.
        """
        name = f"chain {chain['chain_id']}"
        wanted = plan(chain)

        def load(label: str, artifact_id: str, of_fold: str = "") -> tuple[str, Any]:
            row = artifacts.get(artifact_id)
            if row is None:
                raise ChainReplayError(f"{name}, {label}{of_fold}: artifact {artifact_id!r} is not registered")
            try:
                return label, self.load(row) if fresh else self._keep(row)
            except ArtifactLoadError as error:
                raise type(error)(f"{name}, {label}{of_fold}, artifact {artifact_id}: {error}") from error

        shared = [load(*entry) for entry in wanted.shared]
        folds = {fold: [load(label, item, f" of fold {fold}") for label, item in entries]
                 for fold, entries in wanted.folds.items()}  # fmt: skip
        return FittedChain(name, shared, folds)

    def load(self, row: Row) -> Any:
        """Return an artifact's object, loaded anew from bytes whose SHA-256 was checked."""
        content = self._blobs.read(row["artifact_path"], row["content_hash"])
        return codecs.load(content, row["format"], row["provenance"])

    def _keep(self, row: Row) -> Any:
        """Return an artifact's object from the kept ones, or load and keep it."""
        key = row["content_hash"], row["format"]  # One content loads differently in another format.
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        loaded, size = self.load(row), self._blobs.path(row["artifact_path"]).stat().st_size
        with self._lock:
            if key not in self._kept and size <= self._max_bytes:
                self._kept[key] = loaded, size
                self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._bytes -= dropped
        return loaded


def replay_chain(store: Any, chain_id: str, X: Any, wavelengths: Any = None) -> Any:
    """Predict with a stored chain; the same as `store.replay_chain(chain_id, X, wavelengths)`."""
    return store.replay_chain(chain_id, X, wavelengths)
