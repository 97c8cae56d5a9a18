"""The problems that a check reports, and the differences between a database's schema and that of its revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Finding:
    """One problem of a workspace that `check` has found.

    Attributes
    ----------
    code : str
        The kind of problem.

        Of rows: `orphan` (its parent is absent), `chain-gone` (a prediction names an absent chain), `other-pipeline` (a
        prediction names a chain of another pipeline), `artifact-gone` (a chain names an absent artifact), `bad-chain`
        (a chain cannot be replayed as it is stored), `wrong-count` (of the uses of an artifact), `bad-format`,
        `bad-hash`, `bad-path` (of an artifact), `unreadable-value`.

        Of files: `missing-file`, `unreadable-file`, `damaged-file`, `wrong-size`, `unlisted-file` (no row names it),
        `link`, `no-file` (another special file, such as a pipe).

        Of the database: `unreadable` (a part of it), `not-ours` (it has something that no workspace has, such as a
        trigger), `other-column` (a column is missing or has another type), `other-content` (a table of a backup differs
        from its stored hash).
    subject : str
        What has the problem: a table and an id, or a path below `artifacts/` or the workspace.
    message : str
    repair : str or None
        What `repair` would do about it. None: `repair` does nothing, and the message says what you can do.
    """

    code: str
    subject: str
    message: str
    repair: str | None = None


@dataclass(frozen=True)
class Extra:
    """Something in a database that is not part of its revision: a trigger, a view, a macro, a column.

    Attributes
    ----------
    what : str
        Its kind and name.
    drop : str
        The SQL statement that removes it.
    """

    what: str
    drop: str

    def __str__(self) -> str:
        return f"{self.what} (to remove it: {self.drop})"


@dataclass(frozen=True)
class Changed:
    """A column of the revision that the database lacks, or that has another type there.

    Attributes
    ----------
    column : str
        `table.column`.
    wanted : str
        The type that the column has in the revision.
    here : str
        The type that it has in this database; empty if the column is missing.
    """

    column: str
    wanted: str
    here: str

    def __str__(self) -> str:
        return f"column {self.column} is to be {self.wanted}, and is {self.here or 'not there'}"


class Differences(NamedTuple):
    """How the schema of a database differs from that of its revision: what it has more, and which columns differ."""

    more: list[Extra]
    changed: list[Changed]
