"""`Host`, the protocol of what a unit of work needs from its workspace; `workspace.scheduler.Workspace` implements it.

It stands here since this room may not import `workspace`: docs/decisions/0019.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from ..artifacts import ArtifactFiles
from ..engine import Database
from .lookup_cache import LookupCache
from .transaction_scope import Scope


class Host(Protocol):
    """An open workspace: which units of work may begin, the database, and the files.

    Attributes
    ----------
    path : Path
        The folder, or the address of a workspace in memory.
    cache : LookupCache
        Results of look-ups of committed rows.
    """

    path: Path
    cache: LookupCache

    @property
    def blobs(self) -> ArtifactFiles:
        """The files of the artifacts."""

    @property
    def database(self) -> Database:
        """The open database; only for a unit of work that has entered."""

    @property
    def put_forward(self) -> timedelta:
        """By how much the system's clock was put forward; see docs/decisions/0018."""

    @property
    def is_foreign(self) -> bool:
        """Whether the process from which this one was forked has opened the workspace."""

    def check_writable(self, *, read_only: bool) -> None:
        """Raise `ReadOnlyError` if the workspace, or the store that calls, is open for reading only."""

    def enter(self, unit: Any, *, write: bool, timeout: float) -> Scope:
        """Wait until a unit of work may begin, for `timeout` seconds at most; `leave` ends it.

        Parameters
        ----------
        unit : object
            The unit of work.
        write : bool
            Whether it writes. Then it waits for other units of work that write.
        timeout : float
            In seconds.

        Returns
        -------
        Scope
            What `leave` needs.
        """

    def leave(self, scope: Scope) -> None:
        """End a unit of work that has entered."""

    def reopen(self, scope: Scope, timeout: float) -> None:
        """Close and open the database between two transactions of a unit of work."""

    def mark_broken(self) -> None:
        """Close the database as soon as no unit of work uses it, if an error has broken the engine."""
