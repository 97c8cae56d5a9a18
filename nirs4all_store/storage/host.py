"""What a unit of work needs of the open workspace that it belongs to; `workspace.scheduler.Workspace` is one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from ..artifacts import ArtifactFiles
from ..engine import Database
from .lookup_cache import LookupCache
from .transaction_scope import Scope


class Host(Protocol):
    """An open workspace: who may be inside, the database and the files.

    Attributes
    ----------
    path : Path
    cache : LookupCache
        What is sure about the committed rows.
    """

    path: Path
    cache: LookupCache

    @property
    def blobs(self) -> ArtifactFiles:
        """The artifacts' files."""

    @property
    def database(self) -> Database:
        """The open database; only for who is inside."""

    @property
    def put_forward(self) -> timedelta:
        """By how much the clock was put forward."""

    @property
    def is_foreign(self) -> bool:
        """Whether it belongs to the process from which this one was forked."""

    def check_writable(self, *, read_only: bool) -> None:
        """Raise `ReadOnlyError` where it is open for reading only."""

    def enter(self, unit: Any, *, write: bool, timeout: float) -> Scope:
        """Let a unit of work begin, waiting for its turn if it writes; end it with `leave`."""

    def leave(self, scope: Scope) -> None:
        """Let a unit of work end."""

    def reopen(self, scope: Scope, timeout: float) -> None:
        """Close and open the database in the middle of a unit of work."""

    def mark_broken(self) -> None:
        """Close the database as soon as nobody is inside, if an error has broken the engine."""
