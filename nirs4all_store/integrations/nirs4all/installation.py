"""Puts our store in the place of nirs4all's own."""

from __future__ import annotations

import gc
import importlib
import sys
import warnings
from functools import wraps
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from ...artifacts import CODECS
from ...errors import IntegrationError, InvalidInputError

ADAPTERS = {"0.7.1": "v0_7", "1.4.10": "v1_4"}
"""The versions of nirs4all that were tried, and the module here for each."""
STORE_MODULE = "nirs4all.pipeline.storage.workspace_store"
NAME = "WorkspaceStore"
KEPT = ALL, FINAL = "all", "final"
"""Whose fitted objects may be kept."""
_their_store: Any = None
_kept = ALL


def install(keep: str = ALL) -> None:
    """Let nirs4all keep its workspaces in our store, in this process and from now on.

    Call it before nirs4all opens a workspace; afterwards nothing of a program has to change. A second call changes
    `keep` alone. A process that this one starts calls it again if it opens a workspace itself.

    Parameters
    ----------
    keep : str
        Whose fitted objects are kept. "all": those of every model. "final": once nirs4all has fitted the final models
        of a run, theirs alone; the scores and predictions of the others stay.

    Raises
    ------
    InvalidInputError
        `keep` is neither.
    IntegrationError
        nirs4all is not installed, or in a version that was not tried. Nothing was changed.

    Warns
    -----
    UserWarning
        nirs4all has a workspace of its own open in this process, in which it goes on.
    """
    global _kept, _their_store
    if keep not in KEPT:
        raise InvalidInputError(
            f"keep is {keep!r}; give 'all' or 'final'. nirs4all.run(..., refit=False) makes the models of folds alone"
        )
    module = importlib.import_module(f".{_adapter_module()}", __package__)
    adapter, own = module.Store, getattr(importlib.import_module(STORE_MODULE), NAME)
    _kept = keep
    if own is adapter:
        return
    _their_store = own
    _warn_of_open(own)
    _write_what_we_load()
    module.prepare()
    # Some modules import the class when they are imported, others when they need it.
    for theirs in _modules():
        for name, value in list(vars(theirs).items()):
            if value is own:
                setattr(theirs, name, adapter)
    predictions = importlib.import_module("nirs4all.data.predictions").Predictions
    if hasattr(predictions, "register_store_backend"):  # Since 1.0.
        predictions.register_store_backend(adapter)


def _warn_of_open(their_class: Any) -> None:
    """Tell that what was opened before stays what it is."""
    before = [one for one in gc.get_objects() if type(one) is their_class]
    if before:
        folders = ", ".join(sorted({str(getattr(one, "workspace_path", "a folder")) for one in before}))
        warnings.warn(
            f"nirs4all has opened a workspace before install(), in {folders}, and goes on in its own store there; "
            "call install() before anything else of nirs4all",
            stacklevel=3,
        )


def _write_what_we_load() -> None:
    """Let nirs4all write a fitted object with joblib where it would take a format that nothing here loads.

    It has some for Keras, PyTorch, XGBoost, LightGBM and CatBoost, which keep less of the object: its `get_params`.
    """
    registry: Any = importlib.import_module("nirs4all.pipeline.storage.artifacts.artifact_registry")
    to_bytes = registry.to_bytes

    @wraps(to_bytes)
    def to_known_bytes(obj: Any, format_hint: str | None = None) -> tuple[bytes, str]:
        content, format = to_bytes(obj, format_hint)
        return (content, format) if format in CODECS else to_bytes(obj, "sklearn")

    registry.to_bytes = to_known_bytes


def kept() -> str:
    """Return whose fitted objects are kept."""
    return _kept


def their_store() -> Any:
    """Return nirs4all's own class, some of whose methods work on ours, as those that write its bundles."""
    return _their_store


def _adapter_module() -> str:
    tried = " or ".join(ADAPTERS)
    try:
        found = version("nirs4all")
    except PackageNotFoundError:
        raise IntegrationError(f"nirs4all is not installed; install nirs4all {tried}") from None
    if found not in ADAPTERS:
        raise IntegrationError(
            f"nirs4all {found} is installed, which nobody has tried on this store; install nirs4all {tried}"
        )
    return ADAPTERS[found]


def _modules() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "nirs4all"]
