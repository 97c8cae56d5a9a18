"""Named moments at which a test may let the process die or wait.

They cost a comparison each: nothing is done in them unless a test sets `on_hit`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Failpoint(StrEnum):
    """The moments."""

    FILE_HAS_NO_ROW = "an artifact's file is durable, and the row of this save is not there yet"
    COMMIT_BEGINS = "a transaction is about to be committed"
    COMMIT_IS_DURABLE = "a transaction is committed, and the files that it gave up are still there"
    COLLECTION_IS_CHOSEN = "what a collection removes is chosen, and nothing of it is removed"
    COMPACTING = "a statement of a compacting copy is about to run"
    FOLDING = "the log is about to be folded into the database that is being closed"
    FOLDED = "the log is folded in, and what is left of it is still there"
    UPGRADE_BEGINS = "an upgrade begins"
    COPY_IS_WHOLE = "the copy of the old database is whole"
    LOG_IS_FOLDED = "the old database's log is folded in"
    MIGRATIONS_ARE_COMMITTED = "the migrations are committed"
    MIGRATIONS_ARE_FOLDED = "the migrations are folded in"
    UPGRADE_IS_COMPARED = "the new database was compared with the old one"
    UPGRADE_HAS_THE_NAME = "the new database has the name"

    RECOVERY_BEGINS = "a recovery begins"
    PREFIX_IS_FOUND = "what of a damaged log can be read is known"
    DAMAGED_LOG_IS_KEPT = "the copy of the damaged log and its database is whole"
    PREFIX_HAS_THE_NAME = "what can be read of a damaged log has its name"

    BACKUP_IS_COPIED = "a backup is copied beside the workspace"
    WORKSPACE_IS_KEPT = "the workspace that a backup will replace is kept"
    BACKUP_HAS_THE_NAME = "a restored database has the name"


on_hit: Callable[[Failpoint], None] | None = None


def hit(point: Failpoint) -> None:
    """Tell a test, if one asked, that this moment has come."""
    if on_hit is not None:
        on_hit(point)
