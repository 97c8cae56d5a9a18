"""Which revision a database stands at, and the migrations themselves. The only module that imports Alembic.

See docs/decisions/0006.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import Any

from sqlalchemy import Connection, event

from ...errors import WorkspaceCorruptError, WorkspaceOutdatedError, WorkspaceTooNewError
from ...failpoints import Failpoint, hit
from ...filesystem import fsync_folder, share
from .connection import ENGINE_ERRORS
from .database import DuckDBDatabase
from .file_copies import remove_database
from .file_database import FileDatabase
from .revisions import HEAD, KEYS, REVISIONS, UNSTAMPED, printed_schema, script_folder
from .schema import (
    checkpoint,
    differences_from,
    make_tables_in,
    row_counts,
    schema_revision,
    stamp,
    stamped_revision,
    table_names,
)

COMMANDS = ("upgrade", "current", "history", "heads", "check", "show")
"""Those of Alembic's own that work with the installed configuration."""
Migrations = Callable[[Connection], None]
"""Runs the missing migrations on a connection, inside its transaction."""


def revision_of(database: FileDatabase) -> str:
    """Return the revision that an open database stands at; files of nirs4all's own stand at `0001`.

    Raises
    ------
    WorkspaceCorruptError
        It is no workspace's database.
    """
    try:
        with database.session() as session:
            revision = stamped_revision(session, KEYS)
        if revision is not None:
            return revision
        with database.session() as session:
            is_workspace = {*table_names(session)} >= KEYS.keys()
            revision = schema_revision(session) or ("" if "alembic_version" in table_names(session) else UNSTAMPED)
    except ENGINE_ERRORS as error:
        raise WorkspaceCorruptError(f"the revision of {database.path} cannot be read: {error}") from error
    if not is_workspace:
        raise WorkspaceCorruptError(
            f"{database.path} is a DuckDB database, but no workspace: it lacks the seven tables; "
            "nothing was changed: give another folder"
        )
    return revision


def revision_at(path: Path) -> str:
    """Return the revision of a database that this process has not open, without changing a byte.

    Opening it for writing would fold its log into the file. Errors are those of `revision_of` and `FileDatabase`.
    """
    database = FileDatabase(path, read_only=True)
    try:
        return revision_of(database)
    finally:
        database.close()


def refuse_more(
    database: FileDatabase, revision: str = "", *, macros: bool = True, changed: bool = True, shown: Path | None = None
) -> None:
    """Refuse an open database that has more than its revision: it may act by itself, in what is written here.

    Nor is anything written where columns are gone or of other types: it would come back as something else.

    What a newer version may have is not known here, which writes nothing to it.

    Parameters
    ----------
    database : FileDatabase
    revision : str, optional
        Which it stands at, if that is known.
    macros : bool
        See `catalog.differences`; not looked for again in a file that nobody has written to since.
    changed : bool
        Whether to refuse what has other columns, too. nirs4all's own files (`0001`) are not all the same in this.
    shown : Path, optional
        The database that it is a copy of.

    Raises
    ------
    WorkspaceCorruptError
        It has; the message names each, and the statement that removes it or what the revision has.
    """
    revision, path = revision or revision_of(database), shown or database.path
    if not _is_ours(revision) or revision > HEAD:
        return
    try:
        with database.session() as session:
            found = differences_from(session, printed_schema(revision), macros=macros and not database.has_no_macros)
    except ENGINE_ERRORS as error:
        raise WorkspaceCorruptError(f"what {path} has besides rows cannot be read: {error}") from error
    if found.more:
        raise WorkspaceCorruptError(
            f"{path} has what no workspace of revision {revision} has, and what may act by itself: "
            f"{'; '.join(map(str, found.more))}. Nothing was changed: ask where it comes from; if you know what it is, "
            "remove it with duckdb itself"
        )
    if found.changed and changed and revision != UNSTAMPED:
        raise WorkspaceCorruptError(
            f"{path} has other columns than a workspace of revision {revision}: {'; '.join(map(str, found.changed))}. "
            "Nothing was changed: restore it from a backup, or read it with read_only=True"
        )
    if macros:
        database.found_no_macros()


def refuse_more_at(path: Path, shown: Path | None = None, *, changed: bool = False) -> None:
    """Do the same to a database that this process has not open, without changing a byte."""
    database = FileDatabase(path, read_only=True)
    try:
        refuse_more(database, changed=changed, shown=shown)
    finally:
        database.close()


def rows_of(database: Path) -> dict[str, int]:
    """Return how many rows each table of a database has that nobody has open, without changing a byte."""
    opened = FileDatabase(database, read_only=True)
    try:
        with opened.session() as session:
            return row_counts(session)
    finally:
        opened.close()


def check_revision(revision: str, path: Path, *, upgrade: bool) -> None:
    """Refuse a database that this version cannot work on: as it is, or with `upgrade` after an upgrade.

    Raises
    ------
    WorkspaceOutdatedError, WorkspaceTooNewError, WorkspaceCorruptError
        It is older, newer, or stands at a revision that is none of ours.
    """
    if revision == HEAD:
        return
    if not _is_ours(revision):
        raise WorkspaceCorruptError(
            f"{path} stands at the unknown revision {revision!r}; nothing was changed: "
            "open it with the program that wrote it, or restore it from a backup"
        )
    if revision > HEAD:
        raise WorkspaceTooNewError(
            f"{path} stands at revision {revision}, this version knows up to {HEAD}; nothing was changed: "
            "install a newer nirs4all-store"
        )
    if not upgrade:
        raise WorkspaceOutdatedError(
            f"{path} stands at revision {revision}, this version needs {HEAD}; nothing was changed: "
            f"run `nirs4all-store upgrade {quote(str(path.parent))}`, or open it once with upgrade=True"
        )


def _is_ours(revision: str) -> bool:
    return revision.isascii() and revision.isdecimal() and len(revision) == len(HEAD) and revision >= UNSTAMPED


def create(path: Path) -> None:
    """Make a new workspace's database appear, whole or not at all; the caller holds the lease."""
    unfinished = path.with_name(f".creating-{path.name}")
    remove_database(unfinished)
    run(unfinished, run_migrations)
    share(unfinished, path.parent)
    unfinished.replace(path)
    fsync_folder(path.parent)


def run(
    path: Path,
    migrations: Migrations,
    *,
    is_stamped: bool = True,
    memory_limit: int | None = None,
    on_statement: Callable[[str], None] = lambda statement: None,
) -> None:
    """Run the missing migrations in one transaction, then fold them into the file.

    Parameters
    ----------
    path : Path
        The database, which nobody else uses; it is created when absent.
    migrations : callable
        `run_migrations`, or what Alembic's own command line prepared.
    is_stamped : bool
        False: the file carries no revision because nirs4all wrote it.
    memory_limit : int, optional
        See `FileDatabase`.
    on_statement : callable, optional
        Called with each SQL statement before it runs.
    """
    is_new = not path.exists()
    database = FileDatabase(path, memory_limit=memory_limit, create=True)
    try:
        if not is_new:
            refuse_more(database)
        with database.engine.begin() as connection:
            make_tables_in(connection)
            event.listen(connection, "before_cursor_execute", lambda _c, _r, statement, *_: on_statement(statement))
            if not is_stamped:
                stamp(connection, UNSTAMPED)
            migrations(connection)
        hit(Failpoint.MIGRATIONS_ARE_COMMITTED)
        with database.session() as session:
            checkpoint(session)
        hit(Failpoint.MIGRATIONS_ARE_FOLDED)
    finally:
        database.close()


def create_in(database: DuckDBDatabase) -> None:
    """Make the tables in a database that has nothing in it."""
    with database.engine.begin() as connection:
        make_tables_in(connection)
        run_migrations(connection)


def run_migrations(connection: Connection) -> None:
    """Run the missing migrations."""
    from alembic.runtime.environment import EnvironmentContext

    config = alembic_config()
    config.attributes["connection"] = connection
    scripts = _scripts(config)
    with EnvironmentContext(config, scripts, fn=lambda found, _: scripts._upgrade_revs("head", found)):
        scripts.run_env()


def missing(found: str) -> list[Any]:
    """Return the scripts of the revisions that come after one, in their order."""
    return list(_scripts(alembic_config()).iterate_revisions("head", found))[::-1]


def _scripts(config: Any) -> Any:
    """Return what Alembic knows of the revisions: those that are listed here, not what lies in their folder."""
    from alembic.script import Script, ScriptDirectory
    from alembic.script.revision import RevisionMap
    from alembic.util import load_python_file

    scripts, folder = ScriptDirectory.from_config(config), script_folder() / "versions"
    scripts.revision_map = RevisionMap(
        lambda: [
            Script(load_python_file(folder, f"{name}.py"), name.partition("_")[0], folder / f"{name}.py")
            for name in REVISIONS
        ]
    )
    return scripts


def alembic_config() -> Any:
    """Return what Alembic needs to find the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def alembic_ini() -> Path:
    """Return the configuration file for Alembic's own command line."""
    return script_folder().with_name("alembic.ini")


def refuse_to_change_the_package() -> None:
    """Refuse a command of Alembic's own that would write to the installed package, or what lies there unlisted.

    Once a file more lay among the installed revisions, no new workspace could be made.

    Raises
    ------
    alembic.util.CommandError
        It is one that would, or there is a file that is no revision.
    """
    from alembic.util import CommandError

    command = _alembic_command()
    if command not in (None, *COMMANDS):
        raise CommandError(
            f"alembic {command} is for a checkout of nirs4all_store: it would change the installed package, and "
            f"nothing was changed; here {', '.join(COMMANDS)} work"
        )
    strays = sorted(path for path in (script_folder() / "versions").glob("*.py") if path.stem not in REVISIONS)
    if strays:
        names = ", ".join(map(str, strays))
        raise CommandError(f"among the revisions of nirs4all_store is what is none of them; remove {names}")


def _alembic_command() -> str | None:
    """Return which command of Alembic is at work in this thread."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals["__name__"] != "alembic.command":
        frame = frame.f_back
    return frame and frame.f_code.co_name
