"""Takes over what a transformer was fitted to before, on the same samples and after the same steps.

When that is right, and what is kept: docs/decisions/0035.
"""

from __future__ import annotations

import inspect
import json
import pickle
import platform
import random
import re
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import sklearn
from sklearn.base import clone
from threadpoolctl import threadpool_info

from ..artifacts import codecs, sha256
from ..datasets import TrainingData, hash_of
from ..errors import ArtifactLoadError
from ..identifiers import __version__
from .evaluation import Array, Fitted
from .fitting import Samples, fit_operator, fitted_step, transformed, transforms_while_fitting
from .operators import name_of
from .pipeline_config import PipelineSpec, Step
from .repeats import Folds

WORTH_SECONDS = 0.02
"""What is fitted faster is fitted again: to look for it and to load it takes some milliseconds, too."""
WORTH_RATIO = 5
"""How many times longer it takes to fit than to transform, at least: what is kept transforms once more, as a check."""
FORMAT = "joblib"
"""The format of everything but what has the code of a script inside."""
COMPUTER = "computer"
"""What the details of a key tell."""
SEEDS = re.compile("random|seed|rng")
"""What is in the names of parameters that say how random numbers are drawn."""
VALUES = (str, bytes, int, float, complex, bool, type(None), slice, range)
INSTALLED = {"site-packages", "dist-packages"}
USED = (np, scipy, sklearn)

if TYPE_CHECKING:  # A process that trains needs no database.
    from ..store import WorkspaceStore

Keys = dict[int, str]
"""By the position of a transformer, the key of what one fit makes of it."""


@dataclass
class Cache:
    """What the fits of one pipeline may take over, and what they leave to others.

    Attributes
    ----------
    keys : list of dict of int to str
        Of each fold, and last of the final model; empty if nothing is taken over or left.
    found : dict of (str, str) to Dumped
        What was fitted before, by its key and the `computer` of then.
    kept : dict of str to Fitted
        What others may take over, by its key.
    reused : dict of int to int
        How many fits of a transformer were taken over, by its position.
    """

    keys: list[Keys] = field(default_factory=list)
    found: dict[tuple[str, str], codecs.Dumped] = field(default_factory=dict)
    kept: dict[str, Fitted] = field(default_factory=dict)
    reused: dict[int, int] = field(default_factory=dict)

    @cached_property
    def computer(self) -> str:
        """A hash of this process's libraries and threads for linear algebra, on which last digits of sums depend."""
        told = ("internal_api", "version", "architecture", "num_threads")
        libraries = sorted(str([info.get(name) for name in told]) for info in threadpool_info())
        return sha256(json.dumps([platform.machine(), libraries]).encode())

    def of_fit(self, number: int = -1) -> OneFit:
        """Return what belongs to the fit of one fold, by its number, or to that of the final model."""
        return OneFit(self, self.keys[number] if self.keys else {})


class OneFit:
    """Fits the transformers of a pipeline once, one after the other, on the same samples.

    Parameters
    ----------
    cache : Cache
    keys : dict of int to str
    """

    def __init__(self, cache: Cache, keys: Keys) -> None:
        self._cache, self._keys = cache, keys
        self._drawn = _drawn() if keys else None

    def fit(
        self, position: int, step: Step, X: Any, samples: Samples, wavelengths: Array | None
    ) -> tuple[Fitted, Any, Any]:
        """Fit a transformer as `fit_transformer` does, or take it over; return it, as bytes and loaded, and its X."""
        key, cache = self._keys.get(position), self._cache
        known = cache.found.get((key, cache.computer)) if key is not None and cache.found else None
        if known is not None and self._drawn == _drawn():
            cache.reused[position] = cache.reused.get(position, 0) + 1
            operator = codecs.load(*known)
            after = transformed(step, operator, X, samples)
            return Fitted(step, name_of(type(operator)), known), operator, after
        began = time.perf_counter()
        operator, after = fit_operator(step, X, samples, wavelengths)
        fitting, began = time.perf_counter() - began, time.perf_counter()
        is_whole = transforms_while_fitting(operator)
        if not is_whole:
            after = transformed(step, operator, X, samples)
        transforming = time.perf_counter() - began
        fitted = fitted_step(step, operator)
        is_worth_it = fitting > max(WORTH_SECONDS, WORTH_RATIO * transforming)
        # What this step, or one before, has drawn from the generators that all code shares, no parameter tells.
        if key is not None and not is_whole and is_worth_it and self._drawn == _drawn():
            again = transformed(step, codecs.load(*fitted.dumped), X, samples)
            if fitted.dumped.format == FORMAT and codecs.dump(again, "pickle") == codecs.dump(after, "pickle"):
                cache.kept[key] = fitted
        return fitted, operator, after


class TransformerCache:
    """Finds what transformers were fitted to before.

    Parameters
    ----------
    store : WorkspaceStore
    settings : dict
        Those of scikit-learn in this run.
    is_on : bool
        False: nothing is taken over, and nothing kept for others.
    """

    def __init__(self, store: WorkspaceStore, settings: dict[str, Any], *, is_on: bool) -> None:
        self._store = store
        versions = [platform.python_version(), __version__, *(package.__version__ for package in USED)]
        self._circumstances = json.dumps([versions, settings], sort_keys=True, default=str)
        self._is_on = is_on
        self._roots: dict[str, list[str]] = {}
        self._known: set[str] | None = None

    def of(self, pipeline: PipelineSpec, data: TrainingData, folds: Folds) -> Cache:
        """Return the keys of all fits of a pipeline, and what is there for them."""
        hashes = _hashes(pipeline) if self._is_on else {}
        alone = [place for place in hashes if not transforms_while_fitting(pipeline.steps[place].operator)]
        if not alone:
            return Cache()
        if pipeline.folds_key not in self._roots:
            self._roots[pipeline.folds_key] = self._roots_of(data, folds)
        keys = [_keys(root, hashes) for root in self._roots[pipeline.folds_key]]
        return Cache(keys, self._find({of_fit[place] for of_fit in keys for place in alone}))

    def add(self, keys: Iterable[str]) -> None:
        """Know that there may be something for more keys."""
        if self._known is not None:
            self._known.update(keys)

    def _roots_of(self, data: TrainingData, folds: Folds) -> list[str]:
        """Return what tells what each fit is given: X, y, groups, weights and wavelengths of which samples."""
        arrays = {name: getattr(data, name) for name in ("X", "y", "groups", "weights", "wavelengths")}
        of_data = hash_of(arrays, [self._circumstances, data.is_partial, data.X.flags.f_contiguous])
        rows = [*(trained for trained, _ in folds), np.arange(len(data.X))]
        return [hash_of({"rows": np.asarray(part)}, of_data) for part in rows]

    def _find(self, keys: set[str]) -> dict[tuple[str, str], codecs.Dumped]:
        """Return what was fitted under some keys, as far as it is there, whole, and fitted in this workspace."""
        found: dict[tuple[str, str], codecs.Dumped] = {}
        if self._known is not None and self._known.isdisjoint(keys):  # Most often: then nobody waits for the database.
            return found
        with self._store.unit_of_work() as uow:
            if self._known is None:
                self._known = uow.results.artifact_keys()
            rows = uow.results.of_artifact_keys(keys & self._known)
            artifacts = uow.artifacts.get_many({row["document"] for row in rows})
            for row in rows:
                artifact = artifacts.get(row["document"])
                if artifact is None or artifact["format"] != FORMAT or artifact["trust"] is not None:
                    continue
                with suppress(ArtifactLoadError):  # It is fitted anew, which mends the file.
                    content = uow.blobs.read(artifact["artifact_path"], artifact["content_hash"])
                    told = codecs.Dumped(content, FORMAT, artifact["provenance"])
                    found[row["name"], str((row["details"] or {}).get(COMPUTER))] = told
        return found


def _keys(root: str, hashes: dict[int, str]) -> Keys:
    keys, key = {}, root
    for position, digest in hashes.items():
        keys[position] = key = sha256(f"{key} {digest}".encode())
    return keys


def _hashes(pipeline: PipelineSpec) -> Keys:
    """Return a hash of each transformer up to the first of which nobody can tell whether it is fitted alike again."""
    hashes: Keys = {}
    for position, step in enumerate(pipeline.steps):
        if step.kind == "transformer":
            digest = _hash(step)
            if digest is None:
                break
            hashes[position] = digest
    return hashes


def _hash(step: Step) -> str | None:
    try:
        operator = clone(step.operator, safe=False)
        if not is_sure(operator):
            return None
        content, versions = codecs.dump(operator, FORMAT), codecs.versions_of(operator, FORMAT)
    except Exception:  # It may be anybody's; training will tell.
        return None
    is_told = all(codecs.packages_in(versions).values())
    return sha256(content + json.dumps(versions, sort_keys=True).encode()) if is_told else None


def is_sure(value: Any, name: str = "", seen: dict[int, Any] | None = None) -> bool:
    """Tell whether all that an operator consists of says that it is fitted alike again.

    That is so if all its code is of installed packages, and each parameter about random numbers is a whole number.
    """
    seen = {} if seen is None else seen  # With the objects, so that no other one gets the id of one of them.
    if SEEDS.search(name):
        return type(value) is int or isinstance(value, np.integer)
    if type(value) in VALUES or isinstance(value, np.generic | np.dtype | np.ufunc) or id(value) in seen:
        return True
    seen[id(value)] = value
    if type(value) is np.ndarray:
        return not value.dtype.hasobject
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.isbuiltin(value):
        return _is_installed(value.__module__) and isinstance(getattr(value, "__self__", None), ModuleType | None)
    if type(value) in (list, tuple, set, frozenset):
        return all(is_sure(item, "", seen) for item in value)
    if type(value) is dict:
        return all(is_sure(part, str(key), seen) for key, part in value.items())
    if inspect.isroutine(value) or not hasattr(value, "__dict__"):
        return False
    if not all(_is_installed(kind.__module__) for kind in type(value).__mro__):
        return False
    params = value.get_params(deep=False) if hasattr(value, "get_params") else vars(value)
    # What is no parameter is its own, as a forest's tree, to which it gives seeds when it is fitted.
    own = [part for name, part in vars(value).items() if name not in params and not hasattr(part, "get_params")]
    return is_sure(params, "", seen) and all(is_sure(part, "", seen) for part in own)


@cache
def _is_installed(module: str | None) -> bool:
    """Tell whether a module is Python's or lies where packages are installed, so that its version tells of its code."""
    if (module or "").split(".")[0] in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return file is not None and not INSTALLED.isdisjoint(Path(file).parts)


def _drawn() -> tuple[Any, bytes]:
    """Return what changes when somebody draws from the generators that all code shares."""
    return random.getstate(), pickle.dumps(np.random.get_state(legacy=False))
