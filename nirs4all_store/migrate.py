"""Which revision a workspace has, and the way up. The only module that imports Alembic."""

from __future__ import annotations

import shutil
from pathlib import Path

from .database import Database, checkpoint, schema_revision, table_names
from .errors import WorkspaceCorruptError, WorkspaceOutdatedError, WorkspaceTooNewError
from .files import fsync_file, fsync_folder

HEAD = "0002"
UNSTAMPED = "0001"
NIRS4ALL_TABLES = {"runs", "pipelines", "chains", "predictions", "prediction_arrays", "artifacts", "logs"}


def revision_of(database: Database) -> str:
    """Return the revision that an open database stands at; files of nirs4all's own stand at `0001`.

    Raises
    ------
    WorkspaceCorruptError
        It is no workspace's database.
    """
    with database.session() as session:
        revision = schema_revision(session)
        if revision is None and table_names(session) >= NIRS4ALL_TABLES:
            revision = UNSTAMPED
    if revision is None:
        raise WorkspaceCorruptError(
            f"{database.path} is a DuckDB database, but no workspace: it lacks the seven tables; "
            "nothing was changed: give another folder"
        )
    return revision


def check_revision(revision: str, path: Path) -> None:
    """Refuse a database that this version cannot work on as it is.

    Raises
    ------
    WorkspaceOutdatedError, WorkspaceTooNewError, WorkspaceCorruptError
        It is older, newer, or stands at a revision that is none of ours.
    """
    if revision == HEAD:
        return
    if not (revision.isdigit() and len(revision) == len(HEAD)):
        raise WorkspaceCorruptError(f"{path} stands at the unknown revision {revision!r}; nothing was changed")
    if revision > HEAD:
        raise WorkspaceTooNewError(
            f"{path} stands at revision {revision}, this version knows up to {HEAD}; nothing was changed: "
            "install a newer nirs4all-store"
        )
    raise WorkspaceOutdatedError(
        f"{path} stands at revision {revision}, this version needs {HEAD}; nothing was changed: "
        f"open it once with WorkspaceStore({str(path.parent)!r}, upgrade=True)"
    )


def create(path: Path) -> None:
    """Make a new workspace's database appear, whole or not at all; the caller holds the lease."""
    unfinished = path.with_name(f".creating-{path.name}")
    for left_over in (unfinished, _wal(unfinished)):
        left_over.unlink(missing_ok=True)
    _upgrade(unfinished)
    unfinished.replace(path)
    fsync_folder(path.parent)


def upgrade(path: Path, revision: str) -> Path:
    """Bring an older database to the newest revision; the caller holds the lease and nobody has it open.

    Returns
    -------
    Path
        The copy of the file as it was, made before anything changed.
    """
    copy = path.with_name(f"{path.name}.before-{revision}")
    for source, target in ((_wal(path), _wal(copy)), (path, copy)):
        if source.exists():
            shutil.copyfile(source, target)
            fsync_file(target)
    fsync_folder(path.parent)
    _upgrade(path, adopt=revision == UNSTAMPED)
    return copy


def _upgrade(path: Path, *, adopt: bool = False) -> None:
    """Run the missing migrations in one transaction, then fold them into the file.

    `adopt` says that the file carries no revision because nirs4all wrote it.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    database = Database(path)
    try:
        with database.engine.begin() as connection:
            config.attributes["connection"] = connection
            if adopt:
                command.stamp(config, UNSTAMPED)
            command.upgrade(config, "head")
        with database.session() as session:
            checkpoint(session)
    finally:
        database.close()


def script_folder() -> Path:
    """Return the folder of the migrations: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")
