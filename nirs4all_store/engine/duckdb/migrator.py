"""Finds the revision of a database, and runs the migrations that it lacks. The only module that imports Alembic.

What the migration from nirs4all's own files does: docs/decisions/0006.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import Any

from sqlalchemy import Connection, event, text

from ...errors import SystemRefusedError, WorkspaceCorruptError, WorkspaceOutdatedError, WorkspaceTooNewError
from ...failpoints import Failpoint, hit
from ...filesystem import fsync_folder, share
from .connection import ENGINE_ERRORS
from .database import DuckDBDatabase
from .file_copies import remove_database
from .file_database import FileDatabase
from .revisions import HEAD, KEYS, REVISIONS, UNSTAMPED, printed_schema, script_folder
from .schema import (
    differences_from,
    make_tables_in,
    row_counts,
    schema_revision,
    stamp,
    stamped_revision,
    table_names,
)

COMMANDS = ("upgrade", "current", "history", "heads", "check", "show")
"""The commands of Alembic's own command line that work on the installed package."""
Migrations = Callable[[Connection], None]
"""A function that runs the missing migrations on a connection, inside its transaction."""


def revision_of(database: FileDatabase) -> str:
    """Return the revision of an open database; that of a file which nirs4all wrote is `0001`.

    Raises
    ------
    WorkspaceCorruptError
        It is not the database of a workspace.
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
    """Return the revision of a database that this process does not have open, without changing a byte of it.

    It is opened read-only: to open it for writing would fold its log into the file. For the errors see `revision_of`
    and `FileDatabase`.
    """
    with closing(FileDatabase(path, read_only=True)) as database:
        return revision_of(database)


def refuse_more(
    database: FileDatabase, revision: str = "", *, macros: bool = True, changed: bool = True, shown: Path | None = None
) -> None:
    """Raise if an open database has more than its revision, as a trigger, which could act in what is written here.

    Columns that are missing or have other types are refused, too: values would be read back as something else. A
    database of a newer revision is not checked: nothing is written to it.

    Parameters
    ----------
    database : FileDatabase
    revision : str, optional
        Its revision, if the caller knows it.
    macros : bool
        See `catalog.differences`. In a file that has not changed since the last look, macros are not looked for again.
    changed : bool
        Whether to refuse other columns, too. It has no effect on files of nirs4all (`0001`): their columns differ.
    shown : Path, optional
        The path that messages show, if `database` is a copy of that one.

    Raises
    ------
    WorkspaceCorruptError
        The message names each difference, and the statement that removes it or the type of the revision.
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
    """Do what `refuse_more` does with a database that this process does not have open, without changing a byte."""
    with closing(FileDatabase(path, read_only=True)) as database:
        refuse_more(database, changed=changed, shown=shown)


def rows_of(database: Path) -> dict[str, int]:
    """Return the number of rows of each table of a database that nobody has open, without changing a byte."""
    with closing(FileDatabase(database, read_only=True)) as opened, opened.session() as session:
        return row_counts(session)


def check_revision(revision: str, path: Path, *, upgrade: bool) -> None:
    """Raise if this version of the package cannot work with a database of this revision.

    Parameters
    ----------
    revision : str
    path : Path
        The database, for messages.
    upgrade : bool
        Whether the caller will upgrade it: then an older revision is accepted.

    Raises
    ------
    WorkspaceOutdatedError
        The revision is older.
    WorkspaceTooNewError
        It is newer.
    WorkspaceCorruptError
        It is not a revision of this package.
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
    """Create the database of a new workspace; after a crash it is complete or absent. The caller holds the lease."""
    unfinished = path.with_name(f".creating-{path.name}")
    remove_database(unfinished)
    with closing(FileDatabase(unfinished, create=True)) as database:
        create_in(database)
        database.checkpoint()
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
    """Run the missing migrations of a database file in one transaction, then fold the log into the file.

    Parameters
    ----------
    path : Path
        The database, which nobody else uses; it is created when absent.
    migrations : callable
        `run_migrations`, or the function that Alembic's own command line has prepared.
    is_stamped : bool
        False: the file has no stamped revision, because nirs4all wrote it.
    memory_limit : int, optional
        See `FileDatabase`.
    on_statement : callable, optional
        Called with each SQL statement before it runs.

    Raises
    ------
    WorkspaceCorruptError
        The database has more than its revision; see `refuse_more`.
    """
    is_new = not path.exists()
    with closing(FileDatabase(path, memory_limit=memory_limit, create=True)) as database:
        if not is_new:
            refuse_more(database)
        with database.engine.begin() as connection:
            make_tables_in(connection)
            event.listen(connection, "before_cursor_execute", lambda _c, _r, statement, *_: on_statement(statement))
            if not is_stamped:
                stamp(connection, UNSTAMPED)
            migrations(connection)
        hit(Failpoint.MIGRATIONS_ARE_COMMITTED)
        database.checkpoint()
        hit(Failpoint.MIGRATIONS_ARE_FOLDED)


def create_in(database: DuckDBDatabase) -> None:
    """Make the tables of the newest revision in an open database that is empty.

    They are made as DuckDB prints what the migrations make; a test compares the two. The migrations themselves take
    five times as long, and to import Alembic takes more.
    """
    with database.engine.begin() as connection:
        make_tables_in(connection)
        connection.exec_driver_sql(printed_schema(HEAD))
        connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": HEAD})


def run_migrations(connection: Connection) -> None:
    """Run the missing migrations on a connection, inside its transaction."""
    from alembic.runtime.environment import EnvironmentContext

    config = alembic_config()
    config.attributes["connection"] = connection
    scripts = _scripts(config)
    with EnvironmentContext(config, scripts, fn=lambda found, _: scripts._upgrade_revs("head", found)):
        scripts.run_env()


def missing(found: str) -> list[Any]:
    """Return Alembic's scripts of the revisions after `found`, oldest first."""
    return list(_scripts(alembic_config()).iterate_revisions("head", found))[::-1]


def _scripts(config: Any) -> Any:
    """Return Alembic's list of the revisions, made of `REVISIONS` and not of the files in the folder."""
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionMap

    scripts, folder = ScriptDirectory.from_config(config), script_folder() / "versions"
    scripts.revision_map = RevisionMap(lambda: [_script(folder / f"{name}.py") for name in REVISIONS])
    return scripts


def _script(path: Path) -> Any:
    from alembic.script import Script
    from alembic.util import load_python_file

    try:
        return Script(load_python_file(path.parent, path.name), path.name.partition("_")[0], path)
    except ImportError as error:
        raise SystemRefusedError(
            f"the migration {path} cannot be read: {error}; look after the disk, or install nirs4all_store again"
        ) from error


def alembic_config() -> Any:
    """Return the configuration with which Alembic finds the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def alembic_ini() -> Path:
    """Return the path of `alembic.ini`, the configuration file of Alembic's own command line."""
    return script_folder().with_name("alembic.ini")


def refuse_to_change_the_package() -> None:
    """Raise if the running command of Alembic would write to the installed package, or if it has a file too many.

    A file that is not in `REVISIONS` among the installed migrations once kept every new workspace from being made.

    Raises
    ------
    alembic.util.CommandError
        The command is not one of `COMMANDS`, or there is a file that is not a revision of this package.
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
    """Return the name of the Alembic command that this thread runs, or None."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals["__name__"] != "alembic.command":
        frame = frame.f_back
    return frame and frame.f_code.co_name
