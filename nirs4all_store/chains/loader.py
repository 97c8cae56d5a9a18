"""A stored chain and new data give predictions.

See docs/decisions/0005 and 0008.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..artifacts import ArtifactFiles, codecs
from ..errors import ArtifactLoadError, ChainReplayError, StoreError, UntrustedArtifactError
from .composites import Part, build
from .domain import DOMAIN, checked_domain
from .fitted import FittedChain
from .intervals import RESIDUALS, checked_residuals
from .plan import Row, plan_replay
from .probabilities import PredictionError
from .training_columns import TrainedOn

CACHE_BYTES = 256 * 2**20
MAX_CHAINS = 1_000

Key = tuple[str, str, str]
Name = tuple[str, str | None]
"""The id of a chain, and which of its folds predict, as `Plan.chosen` takes it."""


class ChainLoader:
    """Turns plans into fitted objects, and keeps loaded objects for the next replay.

    Parameters
    ----------
    blobs : ArtifactFiles
    max_bytes : int
        Objects are kept, least recently used first out, as long as their files add up to no more.
    """

    def __init__(self, blobs: ArtifactFiles, max_bytes: int = CACHE_BYTES) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._chains: dict[Name, tuple[FittedChain, int, list[Key]]] = {}
        self._lock = threading.Lock()

    def kept(self, name: Name, epoch: int | None) -> FittedChain | None:
        """Return a chain that was kept under the same `epoch`, if all its objects are still kept."""
        with self._lock:
            chain, kept_epoch, keys = self._chains.get(name, (None, None, []))
            if epoch is None or kept_epoch != epoch:
                return None
            for key in keys:
                self._kept.move_to_end(key)
            return chain

    def keep(self, fitted: FittedChain, name: Name, epoch: int | None, chain: Row, artifacts: dict[str, Row]) -> None:
        """Keep a chain made of kept objects.

        Parameters
        ----------
        fitted : FittedChain
        name : (str, str or None)
            Its id, and which of its folds were asked for.
        epoch : int or None
            What `Workspace.epoch` was before the chain was read; None: do not keep it.
        chain : dict
        artifacts : dict of str to dict
            The artifacts' rows by id.
        """
        keys = [_key(artifacts[item]) for item in plan_replay(chain).chosen(name[1]).ids]
        with self._lock:
            if epoch is not None and all(key in self._kept for key in keys):
                if len(self._chains) >= MAX_CHAINS:
                    self._chains.clear()
                self._chains[name] = fitted, epoch, keys

    def fitted(self, chain: Row, artifacts: dict[str, Row], *, fresh: bool, folds: str | None = None) -> FittedChain:
        """Load what a chain applies.

        Parameters
        ----------
        chain : dict
        artifacts : dict of str to dict
            The artifacts' rows by id.
        fresh : bool
            Load every object anew, for a caller who may change it, instead of sharing kept ones.
        folds : str, optional
            Which folds are to predict; see `Plan.chosen`.

        Raises
        ------
        InvalidInputError
            It has no such folds.
        ChainReplayError
            It cannot replay as it is stored.
        ArtifactLoadError
            An artifact's file is missing, damaged, or cannot be turned into an object here.
        UntrustedArtifactError
            It was imported, and nobody said yet that it may be loaded.
        """
        name = f"chain {chain['chain_id']}"
        planned = plan_replay(chain)
        wanted = planned.chosen(folds)
        failed: dict[str | None, tuple[str, StoreError]] = {}
        get = self.load if fresh else self._keep

        def load(label: str, part: Part, fold: str | None = None) -> tuple[str, Any]:
            def load_one(artifact_id: str) -> Any:
                where = f"{label}{'' if fold is None else f' of fold {fold}'}, artifact {artifact_id}"
                try:
                    row = artifacts.get(artifact_id)
                    if row is None:
                        raise ChainReplayError("it is not registered")
                    return get(row)
                except (ChainReplayError, ArtifactLoadError, UntrustedArtifactError) as error:
                    failed.setdefault(fold, (where, error))
                    raise

            try:
                return label, build(part, load_one)
            except PredictionError as error:
                failed.setdefault(fold, (label, ChainReplayError(str(error))))
            except (ChainReplayError, ArtifactLoadError, UntrustedArtifactError):
                pass  # `load_one` has noted it.
            return label, None

        shared = [load(*entry) for entry in wanted.shared]
        loaded = {fold: [load(label, item, fold) for label, item in entries] for fold, entries in wanted.folds.items()}
        if failed:
            raise _with_what_still_works(name, failed, [*planned.folds], [*loaded])
        domain, residuals = (
            self._attached(name, chain, artifacts, role, checked)
            for role, checked in ((DOMAIN, checked_domain), (RESIDUALS, checked_residuals))
        )
        steps = planned.domain_steps(wanted) if isinstance(domain, dict) else None
        try:
            domain_steps = steps and [(label, build(part, lambda item: get(artifacts[item]))) for label, part in steps]
        except (KeyError, ArtifactLoadError, PredictionError, UntrustedArtifactError):
            domain = domain_steps = None  # These folds predict without, and it is said that nothing tells.
        return FittedChain(name, shared, loaded, TrainedOn.of(chain), domain, residuals, domain_steps=domain_steps)

    def _attached(
        self, name: str, chain: Row, artifacts: dict[str, Row], role: str, checked: Callable[[Any], Any]
    ) -> Any:
        """Return the arrays that a chain has in a role, or why they cannot be loaded: predictions do without."""
        artifact_id = (chain.get("attachments") or {}).get(role)
        if artifact_id is None:
            return None
        try:
            return checked(self._keep(artifacts[artifact_id]))
        except (KeyError, ArtifactLoadError, UntrustedArtifactError, ValueError) as error:
            return ArtifactLoadError(f"{name}, its {role}, artifact {artifact_id}: {error}; replay_chain needs none")

    def load(self, row: Row) -> Any:
        """Return an artifact's object, loaded anew from bytes whose SHA-256 was checked."""
        return self._load(row)[0]

    def _load(self, row: Row) -> tuple[Any, int]:
        content = self._blobs.read(row["artifact_path"], row["content_hash"])
        return codecs.load(content, row["format"], row["provenance"], row["trust"]), len(content)

    def _keep(self, row: Row) -> Any:
        """Return an artifact's object from the kept ones, or load and keep it."""
        key = _key(row)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        loaded, size = self._load(row)
        with self._lock:
            if key not in self._kept and size <= self._max_bytes:
                self._kept[key] = loaded, size
                self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._bytes -= dropped
                self._chains.clear()
        return loaded


def _key(row: Row) -> Key:
    # One content loads differently in another format, and maybe not at all when less is trusted.
    return row["content_hash"], row["format"], str(row["trust"])


def _with_what_still_works(
    name: str, failed: dict[str | None, tuple[str, StoreError]], folds: list[str], tried: list[str]
) -> StoreError:
    """Return one error: what failed where, each reason once, and which folds would predict all the same."""
    working = [] if None in failed else [fold for fold in tried if fold not in failed]
    others = [] if None in failed else [fold for fold in folds if fold not in tried]
    if working:
        rest = f"these folds would still predict: {', '.join(working)}"
    elif others:
        rest = f"give folds= to predict with others, of which nothing was loaded: {', '.join(others)}"
    else:
        rest = "no fold predicts without that"
    places: dict[str, list[str]] = {}
    for where, error in failed.values():
        places.setdefault(str(error), []).append(where)
    told = "; ".join(f"{' and '.join(wheres)}: {reason}" for reason, wheres in places.items())
    return type(next(iter(failed.values()))[1])(f"{name}, {told}; {rest}")


def replay_chain(store: Any, chain_id: str, X: Any, wavelengths: Any = None, folds: str | None = None) -> Any:
    """Predict with a stored chain; the same as `store.replay_chain(chain_id, X, wavelengths, folds)`."""
    return store.replay_chain(chain_id, X, wavelengths, folds)
