"""Every error this package raises on purpose, and its warning.

All errors are `StoreError`, and each is also the builtin that a caller would expect, so that
``except KeyError`` and ``except StoreError`` both work. A message says what happened, to which id
or path, and what to do next.
"""

from __future__ import annotations


class StoreError(Exception):
    """The base of every error in this module."""


class InvalidInputError(StoreError, ValueError):
    """A value that cannot be stored or used; nothing was changed."""


class UsageError(InvalidInputError):
    """A command line that is wrong whatever the workspace has; the command ends with exit code 2."""


class InvalidTypeError(InvalidInputError, TypeError):
    """A value of a type that cannot be stored; nothing was changed."""


class DuplicateError(InvalidInputError):
    """An id that is already taken; nothing was changed."""


class NotFoundError(StoreError, KeyError):
    """An id or a name that the workspace does not have; nothing was changed."""

    # KeyError shows the repr of its argument, which would put the sentence in quotes.
    __str__ = Exception.__str__


class StoreClosedError(StoreError, RuntimeError):
    """The store was closed, or belongs to the parent process of a fork."""


class ReadOnlyError(StoreError, PermissionError):
    """A write to a workspace that was opened, or can only be opened, for reading."""


class UnitOfWorkError(StoreError, RuntimeError):
    """A unit of work used in a way that its rules forbid."""


class TransactionAbortedError(UnitOfWorkError):
    """The transaction hit an error on its way and was rolled back: nothing of it is kept."""


class CommitFailedError(StoreError, RuntimeError):
    """The engine failed while committing: whether the data was kept is not known."""


class EngineError(StoreError, RuntimeError):
    """The database engine refused a statement."""


class QueryError(StoreError, ValueError):
    """A query of the user's own that is not one SELECT, failed, or gives too many rows."""


class QueryTimeoutError(QueryError, TimeoutError):
    """A query of the user's own that took longer than it was given."""


class RunInUseError(StoreError, RuntimeError):
    """A run that another living process of this machine is running."""


class WorkspaceError(StoreError, RuntimeError):
    """A workspace that cannot be opened as it is."""


class WorkspaceNotFoundError(WorkspaceError, FileNotFoundError):
    """A workspace that is not there, opened for reading only."""


class WorkspaceBusyError(WorkspaceError, TimeoutError):
    """Another process or thread held the workspace for longer than the timeout."""


class WorkspaceOpenHereError(WorkspaceBusyError):
    """The database is open in this process through duckdb itself: waiting would not help."""


class WorkspaceOutdatedError(WorkspaceError):
    """The workspace has an older schema; it was not changed."""


class WorkspaceTooNewError(WorkspaceError):
    """The workspace was written by a newer version of this package; it was not changed."""


class WorkspaceCorruptError(WorkspaceError):
    """The database file is damaged or is no workspace; it was not changed."""


class UpgradeFailedError(WorkspaceError):
    """An upgrade that did not come to its end; the workspace holds what it held."""


class RecoveryFailedError(WorkspaceError):
    """A recovery that did not come to its end; the workspace is as it was."""


class ArtifactLoadError(StoreError, RuntimeError):
    """A stored artifact that cannot be turned back into an object."""


class ArtifactMissingError(ArtifactLoadError, FileNotFoundError):
    """An artifact whose file is gone."""


class ArtifactCorruptError(ArtifactLoadError):
    """An artifact whose bytes do not match its SHA-256, or whose path leads elsewhere."""


class ArtifactLinkError(ArtifactCorruptError, WorkspaceCorruptError):
    """A link, a pipe, a socket or a device at or above an artifact's path; it was not followed, nor changed."""


class UntrustedArtifactError(StoreError, PermissionError):
    """Loading would run code from a file that the caller did not declare trusted."""


class ChainReplayError(StoreError, RuntimeError):
    """A chain that cannot predict as it is stored."""


class ChainInputError(ChainReplayError, ValueError):
    """Data that a chain's fitted objects refused."""


class FrozenChainError(StoreError, TypeError):
    """An attempt to fit a chain that is already fitted and must stay so."""


class TrainingFailedError(StoreError, RuntimeError):
    """A run of which every pipeline failed."""


class BundleError(StoreError, ValueError):
    """A bundle file that is damaged, or is none."""


class OutputPathError(StoreError, OSError):
    """An output path that cannot be written to."""


class SystemRefusedError(StoreError, OSError):
    """The system refused what a call needed: files, rights, room; `errno` and `filename` are those of its own error."""

    # OSError shows its number and its name instead of the sentence.
    __str__ = Exception.__str__


class TemplateExistsError(StoreError, FileExistsError):
    """A template of that name is already in the library."""


class IntegrationError(StoreError, RuntimeError):
    """Another package that this one is to work with is absent or of another version, or asks for what is not here."""


class DataWarning(UserWarning):
    """Data that can be used, and of which something is probably not as it was meant."""
