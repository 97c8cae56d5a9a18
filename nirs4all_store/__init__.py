"""A workspace store for people who train models on spectra.

`WorkspaceStore` keeps runs, pipelines, chains, predictions, arrays and logs in one DuckDB file, and
fitted objects once each in a folder beside it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .chains.builder import ChainBuilder
    from .chains.estimator import ChainClassifier, ChainRegressor
    from .chains.loader import replay_chain
    from .chains.trace import ExecutionStep, ExecutionTrace, StepArtifacts
    from .engine.duckdb.recovery import RecoveryReport
    from .engine.duckdb.upgrade import UpgradePlan, UpgradeReport
    from .engine.findings import Finding
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
    from .exchange.bundle_loader import BundledObject, BundleInfo, inspect_bundle, load_bundle
    from .exchange.importer import ImportedBundle
    from .storage.repositories import ArtifactRepo, ChainRepo, PredictionRepo, RunRepo
    from .storage.unit_of_work import UnitOfWork
    from .store import WorkspaceStore
    from .training.runner import PipelineRunner
    from .training.template_library import PipelineLibrary
    from .workspace.findings import CheckReport, RepairReport
    from .workspace.offline import WorkspaceInfo, inspect_workspace, recover_workspace, upgrade_workspace
    from .workspace.restore import RestoreReport, restore_workspace

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
    "ArtifactRepo": "storage.repositories",
    "BundleError": "errors",
    "BundleInfo": "exchange.bundle_writer",
    "BundledObject": "exchange.bundle_writer",
    "ChainBuilder": "chains.builder",
    "ChainClassifier": "chains.estimator",
    "ChainInputError": "errors",
    "ChainRegressor": "chains.estimator",
    "ChainReplayError": "errors",
    "ChainRepo": "storage.repositories",
    "CheckReport": "workspace.check",
    "CommitFailedError": "errors",
    "DuplicateError": "errors",
    "EngineError": "errors",
    "ExecutionStep": "chains.trace",
    "ExecutionTrace": "chains.trace",
    "Finding": "workspace.check",
    "FrozenChainError": "errors",
    "ImportedBundle": "exchange.importer",
    "InvalidInputError": "errors",
    "InvalidTypeError": "errors",
    "NotFoundError": "errors",
    "OutputPathError": "errors",
    "PipelineLibrary": "training.template_library",
    "PipelineRunner": "training.runner",
    "PredictionRepo": "storage.repositories",
    "QueryError": "errors",
    "QueryTimeoutError": "errors",
    "ReadOnlyError": "errors",
    "RecoveryFailedError": "errors",
    "RecoveryReport": "engine.duckdb.recovery",
    "RepairReport": "workspace.check",
    "RestoreReport": "workspace.restore",
    "RunInUseError": "errors",
    "RunRepo": "storage.repositories",
    "StepArtifacts": "chains.trace",
    "StoreClosedError": "errors",
    "StoreError": "errors",
    "SystemRefusedError": "errors",
    "TemplateExistsError": "errors",
    "TrainingFailedError": "errors",
    "TransactionAbortedError": "errors",
    "UnitOfWork": "storage.unit_of_work",
    "UnitOfWorkError": "errors",
    "UntrustedArtifactError": "errors",
    "UpgradeFailedError": "errors",
    "UpgradePlan": "engine.duckdb.upgrade",
    "UpgradeReport": "engine.duckdb.upgrade",
    "WorkspaceBusyError": "errors",
    "WorkspaceCorruptError": "errors",
    "WorkspaceError": "errors",
    "WorkspaceInfo": "workspace.offline",
    "WorkspaceNotFoundError": "errors",
    "WorkspaceOpenHereError": "errors",
    "WorkspaceOutdatedError": "errors",
    "WorkspaceStore": "store",
    "WorkspaceTooNewError": "errors",
    "inspect_bundle": "exchange.bundle_writer",
    "inspect_workspace": "workspace.offline",
    "load_bundle": "exchange.bundle_writer",
    "recover_workspace": "workspace.offline",
    "replay_chain": "chains.loader",
    "restore_workspace": "workspace.restore",
    "upgrade_workspace": "workspace.offline",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
