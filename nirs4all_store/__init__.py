"""A workspace store for people who train models on spectra.

`WorkspaceStore` keeps runs, pipelines, chains, predictions, arrays and logs in one DuckDB file, and
fitted objects once each in a folder beside it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .bundle import BundledObject, BundleInfo, inspect_bundle, load_bundle
    from .chain_builder import ChainBuilder
    from .checking import CheckReport, Finding, RepairReport
    from .errors import (
        ArtifactCorruptError,
        ArtifactLinkError,
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
        QueryError,
        QueryTimeoutError,
        ReadOnlyError,
        RecoveryFailedError,
        RunInUseError,
        StoreClosedError,
        StoreError,
        SystemRefusedError,
        TemplateExistsError,
        TrainingFailedError,
        TransactionAbortedError,
        UnitOfWorkError,
        UntrustedArtifactError,
        UpgradeFailedError,
        WorkspaceBusyError,
        WorkspaceCorruptError,
        WorkspaceError,
        WorkspaceNotFoundError,
        WorkspaceOpenHereError,
        WorkspaceOutdatedError,
        WorkspaceTooNewError,
    )
    from .estimator import ChainClassifier, ChainRegressor
    from .importing import ImportedBundle
    from .inspection import WorkspaceInfo, inspect_workspace, recover_workspace, upgrade_workspace
    from .library import PipelineLibrary
    from .recovery import RecoveryReport
    from .replay import replay_chain
    from .repositories import ArtifactRepo, ChainRepo, PredictionRepo, RunRepo
    from .restoring import RestoreReport, restore_workspace
    from .runner import PipelineRunner
    from .store import WorkspaceStore
    from .trace import ExecutionStep, ExecutionTrace, StepArtifacts
    from .unit_of_work import UnitOfWork
    from .upgrade import UpgradePlan, UpgradeReport

__all__ = [
    "ArtifactCorruptError",
    "ArtifactLinkError",
    "ArtifactLoadError",
    "ArtifactMissingError",
    "ArtifactRepo",
    "BundleError",
    "BundleInfo",
    "BundledObject",
    "ChainBuilder",
    "ChainClassifier",
    "ChainInputError",
    "ChainRegressor",
    "ChainReplayError",
    "ChainRepo",
    "CheckReport",
    "CommitFailedError",
    "DuplicateError",
    "EngineError",
    "ExecutionStep",
    "ExecutionTrace",
    "Finding",
    "FrozenChainError",
    "ImportedBundle",
    "InvalidInputError",
    "InvalidTypeError",
    "NotFoundError",
    "OutputPathError",
    "PipelineLibrary",
    "PipelineRunner",
    "PredictionRepo",
    "QueryError",
    "QueryTimeoutError",
    "ReadOnlyError",
    "RecoveryFailedError",
    "RecoveryReport",
    "RepairReport",
    "RestoreReport",
    "RunInUseError",
    "RunRepo",
    "StepArtifacts",
    "StoreClosedError",
    "StoreError",
    "SystemRefusedError",
    "TemplateExistsError",
    "TrainingFailedError",
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
    "WorkspaceOpenHereError",
    "WorkspaceOutdatedError",
    "WorkspaceStore",
    "WorkspaceTooNewError",
    "__version__",
    "inspect_bundle",
    "inspect_workspace",
    "load_bundle",
    "recover_workspace",
    "replay_chain",
    "restore_workspace",
    "upgrade_workspace",
]

# Each name is loaded when it is first used: what reads no workspace need not wait for the database and the ORM.
_MODULES = {
    "ArtifactCorruptError": "errors",
    "ArtifactLinkError": "errors",
    "ArtifactLoadError": "errors",
    "ArtifactMissingError": "errors",
    "ArtifactRepo": "repositories",
    "BundleError": "errors",
    "BundleInfo": "bundle",
    "BundledObject": "bundle",
    "ChainBuilder": "chain_builder",
    "ChainClassifier": "estimator",
    "ChainInputError": "errors",
    "ChainRegressor": "estimator",
    "ChainReplayError": "errors",
    "ChainRepo": "repositories",
    "CheckReport": "checking",
    "CommitFailedError": "errors",
    "DuplicateError": "errors",
    "EngineError": "errors",
    "ExecutionStep": "trace",
    "ExecutionTrace": "trace",
    "Finding": "checking",
    "FrozenChainError": "errors",
    "ImportedBundle": "importing",
    "InvalidInputError": "errors",
    "InvalidTypeError": "errors",
    "NotFoundError": "errors",
    "OutputPathError": "errors",
    "PipelineLibrary": "library",
    "PipelineRunner": "runner",
    "PredictionRepo": "repositories",
    "QueryError": "errors",
    "QueryTimeoutError": "errors",
    "ReadOnlyError": "errors",
    "RecoveryFailedError": "errors",
    "RecoveryReport": "recovery",
    "RepairReport": "checking",
    "RestoreReport": "restoring",
    "RunInUseError": "errors",
    "RunRepo": "repositories",
    "StepArtifacts": "trace",
    "StoreClosedError": "errors",
    "StoreError": "errors",
    "SystemRefusedError": "errors",
    "TemplateExistsError": "errors",
    "TrainingFailedError": "errors",
    "TransactionAbortedError": "errors",
    "UnitOfWork": "unit_of_work",
    "UnitOfWorkError": "errors",
    "UntrustedArtifactError": "errors",
    "UpgradeFailedError": "errors",
    "UpgradePlan": "upgrade",
    "UpgradeReport": "upgrade",
    "WorkspaceBusyError": "errors",
    "WorkspaceCorruptError": "errors",
    "WorkspaceError": "errors",
    "WorkspaceInfo": "inspection",
    "WorkspaceNotFoundError": "errors",
    "WorkspaceOpenHereError": "errors",
    "WorkspaceOutdatedError": "errors",
    "WorkspaceStore": "store",
    "WorkspaceTooNewError": "errors",
    "inspect_bundle": "bundle",
    "inspect_workspace": "inspection",
    "load_bundle": "bundle",
    "recover_workspace": "inspection",
    "replay_chain": "replay",
    "restore_workspace": "restoring",
    "upgrade_workspace": "inspection",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
