"""A workspace store for people who train models on spectra.

`WorkspaceStore` keeps runs, pipelines, chains, predictions, arrays and logs in one DuckDB file, and
fitted objects once each in a folder beside it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .chain_builder import ChainBuilder
from .errors import (
    ArtifactCorruptError,
    ArtifactLoadError,
    ArtifactMissingError,
    BundleError,
    ChainInputError,
    ChainReplayError,
    CommitFailedError,
    DuplicateError,
    EngineError,
    FrozenChainError,
    InvalidInputError,
    InvalidTypeError,
    NotFoundError,
    OutputPathError,
    ReadOnlyError,
    StoreClosedError,
    StoreError,
    TemplateExistsError,
    TransactionAbortedError,
    UnitOfWorkError,
    UntrustedArtifactError,
    UpgradeFailedError,
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceError,
    WorkspaceNotFoundError,
    WorkspaceOutdatedError,
    WorkspaceTooNewError,
)
from .inspection import WorkspaceInfo, inspect_workspace, upgrade_workspace
from .library import PipelineLibrary
from .replay import replay_chain
from .repositories import ArtifactRepo, ChainRepo, PredictionRepo, RunRepo
from .store import WorkspaceStore
from .trace import ExecutionStep, ExecutionTrace, StepArtifacts
from .unit_of_work import UnitOfWork
from .upgrade import UpgradePlan, UpgradeReport
from .version import __version__

if TYPE_CHECKING:
    from .bundle import load_bundle
    from .estimator import ChainClassifier, ChainRegressor

__all__ = [
    "ArtifactCorruptError",
    "ArtifactLoadError",
    "ArtifactMissingError",
    "ArtifactRepo",
    "BundleError",
    "ChainBuilder",
    "ChainClassifier",
    "ChainInputError",
    "ChainRegressor",
    "ChainReplayError",
    "ChainRepo",
    "CommitFailedError",
    "DuplicateError",
    "EngineError",
    "ExecutionStep",
    "ExecutionTrace",
    "FrozenChainError",
    "InvalidInputError",
    "InvalidTypeError",
    "NotFoundError",
    "OutputPathError",
    "PipelineLibrary",
    "PredictionRepo",
    "ReadOnlyError",
    "RunRepo",
    "StepArtifacts",
    "StoreClosedError",
    "StoreError",
    "TemplateExistsError",
    "TransactionAbortedError",
    "UnitOfWork",
    "UnitOfWorkError",
    "UntrustedArtifactError",
    "UpgradeFailedError",
    "UpgradePlan",
    "UpgradeReport",
    "WorkspaceBusyError",
    "WorkspaceCorruptError",
    "WorkspaceError",
    "WorkspaceInfo",
    "WorkspaceNotFoundError",
    "WorkspaceOutdatedError",
    "WorkspaceStore",
    "WorkspaceTooNewError",
    "__version__",
    "inspect_workspace",
    "load_bundle",
    "replay_chain",
    "upgrade_workspace",
]

# These need scikit-learn, which takes longer to import than everything else here.
_LOADED_WHEN_USED = {"ChainClassifier": ".estimator", "ChainRegressor": ".estimator", "load_bundle": ".bundle"}


def __getattr__(name: str) -> Any:
    if name in _LOADED_WHEN_USED:
        return getattr(importlib.import_module(_LOADED_WHEN_USED[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
