"""A workspace of nirs4all 0.8 or later, opened for reading: its database, its arrays and its files.

The formats of 0.8.0 to 1.4.10 differ in their columns, which are read by name; any may be missing. Why what becomes
what: docs/decisions/0032.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ...artifacts import checked_hash, sha256
from ...engine import ForeignDatabase, foreign_database
from ...errors import ArtifactCorruptError, ArtifactMissingError, InvalidInputError, StoreError, WorkspaceNotFoundError
from ...filesystem import content_of
from .arrays import ArrayFiles
from .json_text import readable

Row = dict[str, Any]
SQLITE, DUCKDB = "store.sqlite", "store.duckdb"
"""The names of databases. Where both are, SQLite is the live one, and the other what it was made of."""
OURS, OLD = "alembic_version", "prediction_arrays"
"""Tables that tell who wrote a DuckDB file: this package; nirs4all 0.7, which kept arrays in the database."""
JSON_OF_CHAINS = {"steps": list, "fold_artifacts": dict, "shared_artifacts": dict, "branch_path": list}
"""What the replay of a chain needs, and what each is when it is sound."""
OF_CHAINS = ("preprocessings", "fold_strategy", "source_index", "model_step_idx", "model_class", "model_name")
ODD = "odd"
"""Where a row has the columns that cannot be read, as text."""


@dataclass(frozen=True)
class Source:
    """An open workspace of nirs4all.

    Attributes
    ----------
    folder : Path
    database : ForeignDatabase
    arrays : ArrayFiles
    zone : tzinfo or None
        Of what is told in local time: by DuckDB, and by what was moved from it. None: this computer's.
    is_local : bool
        Whether all times are local.
    artifacts : dict of str to dict
        The rows of artifacts by id.
    """

    folder: Path
    database: ForeignDatabase
    arrays: ArrayFiles
    zone: tzinfo | None
    is_local: bool
    artifacts: dict[str, Row] = field(default_factory=dict)

    def time(self, value: Any) -> datetime | None:
        """Return a time in UTC, without a zone; None for none, or for what is no time.

        SQLite's are UTC in whole seconds. DuckDB's are local, in microseconds, and kept these when they were moved.
        """
        if value is None or value == "":
            return None
        try:
            told = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            return None
        if told.tzinfo is None and not (self.is_local or told.microsecond):
            return told
        if told.tzinfo is None and self.zone is not None:
            told = told.replace(tzinfo=self.zone)
        return told.astimezone(UTC).replace(tzinfo=None)  # One without a zone is taken for local time here.

    def chains_of(self, pipeline_id: str) -> list[Row]:
        """Return the chains of a pipeline, oldest first, with what their replay needs decoded; see `ODD`."""
        return [self._chain(row) for row in self.database.rows("chains", "pipeline_id", pipeline_id)]

    @staticmethod
    def _chain(row: Row) -> Row:
        found = dict.fromkeys(OF_CHAINS) | row
        odd = {}
        for name, kind in JSON_OF_CHAINS.items():
            value = readable(row.get(name))
            if not isinstance(value, kind) and value is not None:
                value, odd[name] = None, str(row[name])
            found[name] = kind() if value is None and name != "branch_path" else value
        found["steps"] = [step for step in found["steps"] or [] if isinstance(step, dict)]
        if not isinstance(found["model_step_idx"], int):
            found["model_step_idx"] = -1
        return found | ({ODD: odd} if odd else {})

    def content(self, artifact_id: str) -> bytes:
        """Return the bytes of an artifact.

        Raises
        ------
        ArtifactMissingError
            There is no such row, or no such file.
        ArtifactCorruptError
            They are not those that its row tells of.
        """
        row = self.artifacts.get(artifact_id)
        if row is None or not row.get("artifact_path"):
            raise ArtifactMissingError(f"nirs4all has no artifact {artifact_id!r}")
        content = self.file(self.folder / "artifacts" / row["artifact_path"])
        digest = row.get("content_hash")
        if digest and sha256(content) != checked_hash(digest, ArtifactCorruptError):
            raise ArtifactCorruptError(f"{row['artifact_path']} was changed since nirs4all wrote it")
        return content

    def file(self, path: Path) -> bytes:
        """Return the bytes of a file below `artifacts/`; `ArtifactMissingError` if there is none."""
        inside = self.folder / "artifacts"
        if not path.resolve().is_relative_to(inside.resolve()):
            raise ArtifactMissingError(f"{path} is not below {inside}")
        try:
            return content_of(path)
        except (OSError, StoreError) as error:
            raise ArtifactMissingError(f"{path.relative_to(self.folder)} is not there") from error

    def files(self) -> list[Path]:
        """Return the files below `artifacts/`."""
        return sorted(path for path in (self.folder / "artifacts").rglob("*") if path.is_file())

    def files_without_rows(self) -> list[Path]:
        """Return the files below `artifacts/` that no row names: models that a later run of the same name has lost."""
        inside = self.folder / "artifacts"
        named = {inside / row["artifact_path"] for row in self.artifacts.values() if row.get("artifact_path")}
        return [path for path in self.files() if path not in named]


@contextmanager
def open_source(path: Path, timezone: str | None, target: Path | None = None) -> Iterator[Source]:
    """Open a workspace of nirs4all for reading; not a byte of it changes.

    Parameters
    ----------
    path : Path
        The folder with `store.sqlite` or `store.duckdb`, or the one above it, if that is called `workspace`.
    timezone : str or None
        Where the computer stood that wrote local times, as `Europe/Paris`; None: here.
    target : Path, optional
        The folder into which it is imported.

    Raises
    ------
    WorkspaceNotFoundError
        It has no database of nirs4all.
    InvalidInputError
        It is a workspace of this package, or of nirs4all 0.7; or nobody knows the time zone.
    """
    database_path = database_of(path)
    refuse_same(database_path.parent, target)
    with foreign_database(database_path) as database:
        tables = database.columns
        if OURS in tables:
            raise InvalidInputError(f"{path} is a workspace of this package, not of nirs4all; open it as it is")
        if OLD in tables and database_path.name == DUCKDB and not (database_path.parent / "arrays").exists():
            raise InvalidInputError(f"{path} is of nirs4all 0.7: upgrade it with nirs4all-store upgrade {path}")
        if not {"runs", "pipelines", "chains", "predictions", "artifacts"} <= tables.keys():
            raise WorkspaceNotFoundError(f"{database_path} has not the tables of nirs4all, but {sorted(tables)}")
        yield Source(
            database_path.parent,
            database,
            ArrayFiles(database_path.parent / "arrays", database),
            _zone(timezone),
            database_path.name == DUCKDB,
            {row["artifact_id"]: row for row in database.rows("artifacts")},
        )


def refuse_same(source: Path, target: Path | None) -> None:
    """Refuse to import a workspace into itself: what is deleted there would be nirs4all's own files.

    Raises
    ------
    InvalidInputError
        The target is the folder itself.
    """
    if target is not None and target.resolve() == source.resolve():
        raise InvalidInputError(
            f"{source} is nirs4all's own workspace, and stays as it is; import it into another folder, which "
            "--workspace names"
        )


def database_of(path: Path) -> Path:
    """Return the database of a workspace of nirs4all; raise `WorkspaceNotFoundError` if there is none."""
    for folder in (path, path / "workspace"):
        for name in (SQLITE, DUCKDB):
            if (folder / name).is_file():
                return folder / name
    raise WorkspaceNotFoundError(
        f"{path} has neither {SQLITE} nor {DUCKDB}; give the folder that nirs4all calls its workspace"
    )


def _zone(name: str | None) -> tzinfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError(f"there is no time zone {name!r}; give one as Europe/Paris or UTC") from error
