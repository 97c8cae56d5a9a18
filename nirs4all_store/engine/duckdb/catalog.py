"""Compares the schema of a database with that of its revision. Whatever it has more, as a trigger, could run code.

The schema of each revision stands in `migrations/catalogs`, as DuckDB prints it. A database whose schema is printed
with the same text has the same schema. Otherwise a second database is made of the text, and both are compared piece by
piece, since another version of DuckDB may print the same schema differently.

Why anything more is refused: docs/decisions/0015.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from ..findings import Changed, Differences, Extra
from .settings import quoted_name

# Filtered by the database, not by `internal`: that is a bit in the file, which whoever made the file can set. Each name
# has its kind before it: the name of a trigger could be the text of a CREATE TABLE.
_PRINTED = """
    SELECT sql FROM system.main.duckdb_tables() WHERE database_name = $name
    UNION ALL SELECT sql FROM system.main.duckdb_indexes() WHERE database_name = $name
    UNION ALL SELECT 'VIEW ' || view_name FROM system.main.duckdb_views() WHERE database_name = $name
    UNION ALL SELECT 'TRIGGER ' || trigger_name FROM system.main.duckdb_triggers() WHERE database_name = $name
    UNION ALL SELECT 'SEQUENCE ' || sequence_name FROM system.main.duckdb_sequences() WHERE database_name = $name
    UNION ALL SELECT 'TYPE ' || type_name FROM system.main.duckdb_types() WHERE database_name = $name AND NOT internal
    UNION ALL SELECT 'SCHEMA ' || schema_name FROM system.main.duckdb_schemas()
    WHERE database_name = $name AND schema_name <> 'main'
"""
# A query of its own: it takes 15 ms, since DuckDB describes all its own functions for it.
_MACROS = """
    SELECT schema_name, function_name, function_type FROM system.main.duckdb_functions() WHERE database_name = $name
    ORDER BY ALL
"""
_TABLES = """
    SELECT schema_name, table_name, sql FROM system.main.duckdb_tables() WHERE database_name = $name ORDER BY ALL
"""
# Kind, schema, name, what else is compared, and the table after ON in its DROP statement.
_OTHERS = """
    SELECT 'TRIGGER' AS kind, schema_name, trigger_name AS name, sql AS what, table_name AS on_table
    FROM system.main.duckdb_triggers() WHERE database_name = $name
    UNION ALL SELECT 'INDEX', schema_name, index_name, concat(table_name, expressions, is_unique), NULL
    FROM system.main.duckdb_indexes() WHERE database_name = $name
    UNION ALL SELECT 'VIEW', schema_name, view_name, NULL, NULL
    FROM system.main.duckdb_views() WHERE database_name = $name
    UNION ALL SELECT 'SEQUENCE', schema_name, sequence_name, NULL, NULL
    FROM system.main.duckdb_sequences() WHERE database_name = $name
    UNION ALL SELECT 'TYPE', schema_name, type_name, NULL, NULL
    FROM system.main.duckdb_types() WHERE database_name = $name AND NOT internal
    UNION ALL SELECT 'SCHEMA', parent_schema, schema_name, NULL, NULL
    FROM system.main.duckdb_schemas() WHERE database_name = $name AND parent_schema IS NOT NULL
    ORDER BY ALL
"""
_USE_TABLES = ("TRIGGER", "VIEW", "INDEX")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_TOKENS = re.compile(r"""'[^']*'|"[^"]*"|[(),]|[^'"(),]+""")
_NAME = re.compile(r'(?:"[^"]*")+|\w+')
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
# DuckDB prints a column whose name is such a word in quotes.
_KEY = re.compile(r" (PRIMARY KEY|UNIQUE)$")
_CONSTRAINT = re.compile(r"(CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY|CONSTRAINT)\b")
_ACTS = re.compile(r"\b(DEFAULT|GENERATED|COLLATE|CHECK|UNIQUE|REFERENCES)\b")


def differences(
    connection: duckdb.DuckDBPyConnection, database: str, printed: str, *, macros: bool = True
) -> Differences:
    """Return what a database has more than a revision (triggers, views, columns), and which columns are different.

    Tables of the user's own do not count, as long as they only hold rows.

    Parameters
    ----------
    connection : DuckDBPyConnection
        One on which the name of a function means DuckDB's own one; see `DuckDBDatabase.cursor`.
    database : str
        The name of the database on this connection; see `connection.catalog_name`.
    printed : str
        The schema of the revision; see `revisions.printed_schema`.
    macros : bool
        Whether to look for macros, too. This takes longer, and a macro that nothing else calls does nothing.
    """
    named = {"name": database}
    found = {sql for (sql,) in connection.execute(_PRINTED, named).fetchall()}
    lines = printed.replace(",\n    ", ", ")
    # The table that Alembic makes has its key as a constraint of the table, that of `schema.stamp` in the column.
    known = {*lines.splitlines(), *lines.replace(", PRIMARY KEY(version_num)", " PRIMARY KEY").splitlines()}
    is_as_printed = found <= known and len(found) == printed.count("CREATE ")
    more, changed = ([], []) if is_as_printed else _compared(connection, named, printed)
    if macros:
        more += map(_macro, connection.execute(_MACROS, named).fetchall())
    return Differences(more, changed)


def _macro(row: tuple[str, str, str]) -> Extra:
    schema, name, kind = row
    path = _path(schema, name)
    return Extra(f"macro {path}", f"DROP MACRO{' TABLE' if kind == 'table_macro' else ''} {path}")


@cache
def _of_revision(printed: str) -> tuple[list[Any], list[Any]]:
    """Return what `_OTHERS` and `_TABLES` find in a database that is made of the schema of a revision."""
    with duckdb.connect(config={"enable_external_access": "false"}) as revision:
        revision.execute(printed)
        others, tables = (revision.execute(query, {"name": "memory"}).fetchall() for query in (_OTHERS, _TABLES))
    return others, tables


def _compared(connection: duckdb.DuckDBPyConnection, named: dict[str, str], printed: str) -> Differences:
    others, tables = _of_revision(printed)
    known = {name: sql for _, name, sql in tables}
    here = connection.execute(_TABLES, named).fetchall()
    rows = [row for row in connection.execute(_OTHERS, named).fetchall() if row not in others]
    # In the order in which they can be removed: a view may use a column, and a column a sequence.
    more = [_other(*row) for row in rows if row[0] in _USE_TABLES]
    for schema, name, sql in here:
        more += _of_table(schema, name, sql, known.get(name) if schema == "main" else None)
    more += (_other(*row) for row in rows if row[0] not in _USE_TABLES)
    return Differences(more, list(_changed(known, {name: sql for schema, name, sql in here if schema == "main"})))


def _changed(known: dict[str, str], here: dict[str, str]) -> Iterator[Changed]:
    """Yield the columns of a revision that are missing or of another type; for defaults etc. see `_of_table`."""
    for table, sql in known.items():
        found = _columns(here.get(table, ""))
        for name, wanted in _columns(sql).items():
            column = found.get(name, "")
            if column != wanted and not _ACTS.search(_QUOTED.sub('""', column)):
                yield Changed(f"{table}.{name}", wanted, column)


def _columns(sql: str) -> dict[str, str]:
    """Return the types of the columns in a CREATE TABLE statement, by name."""
    columns = [(_column(clause), clause) for clause in _clauses(sql) if not _CONSTRAINT.match(clause)]
    return {name: clause.removeprefix(name).strip().removesuffix(" NOT NULL") for name, clause in columns}


def _other(kind: str, schema: str, name: str, _: str | None, on_table: str | None) -> Extra:
    """Return the `Extra` of a trigger, view, index, sequence, type or schema."""
    path = _path("main" if on_table else schema, name)
    what, rest = f"{kind.lower()} {path}", " CASCADE" if kind == "SCHEMA" else ""
    if on_table:
        table = _path(schema, on_table)
        what, rest = f"{what} on {table}", f" ON {table}"
    return Extra(what, f"DROP {kind} {path}{rest}")


def _of_table(schema: str, table_name: str, sql: str, known: str | None) -> Iterator[Extra]:
    """Yield what a table has more than that of the revision; for a table of the user's own, only what computes."""
    table = _path(schema, table_name)
    wanted = _clauses(known) if known else []
    columns = [_column(clause) for clause in wanted if not _CONSTRAINT.match(clause)]
    for clause in _clauses(sql):
        if clause in wanted or (known is None and clause.startswith(("PRIMARY KEY", "UNIQUE"))):
            continue
        name, acts = _column(clause), _ACTS.search(_QUOTED.sub('""', clause))
        if _CONSTRAINT.match(clause):
            yield Extra(f"{clause} of {table}", _rebuilt(schema, table_name, known, columns))
        elif known and name not in columns:
            yield Extra(f"column {table}.{name} ({clause})", f"ALTER TABLE {table} DROP COLUMN {name}")
        elif acts and acts[0] == "DEFAULT":
            yield Extra(
                f"default of {table}.{name} ({clause})", f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT"
            )
        elif acts:
            yield Extra(f"column {table}.{name} ({clause})", _rebuilt(schema, table_name, known, columns))


def _rebuilt(schema: str, name: str, known: str | None, columns: list[str]) -> str:
    """Return the statements that make a table anew: DuckDB has no statement that drops a constraint."""
    table, new = _path(schema, name), _path(schema, f"{name}_new")
    if known:
        names = ", ".join(columns)
        made = f"CREATE TABLE {new}({', '.join(_clauses(known))}); "
        made += f"INSERT INTO {new}({names}) SELECT {names} FROM {table}"  # noqa: S608  # shown to the user, not run
    else:
        made = f"CREATE TABLE {new} AS FROM {table}"
    return f"{made}; DROP TABLE {table}; ALTER TABLE {new} RENAME TO {_path('main', name)}"


def _clauses(sql: str) -> list[str]:
    """Return the columns and constraints between the brackets of a CREATE TABLE statement, one text each."""
    pieces, depth = [""], 0
    for part in _TOKENS.findall(sql):
        depth += (part == "(") - (part == ")")
        if part == "," and depth == 1:
            pieces.append("")
        elif depth > 1 or (depth == 1 and part != "("):
            pieces[-1] += part
    clauses = []
    for clause in map(str.strip, pieces):
        key = _KEY.search(clause)  # A key may stand behind its column, or by itself.
        clauses += [clause] if key is None else [clause[: key.start()], f"{key[1]}({_column(clause)})"]
    return clauses


def _column(clause: str) -> str:
    name = _NAME.match(clause)
    return name[0] if name else clause


def _path(schema: str, name: str) -> str:
    """Return a name as SQL needs it: in quotes if necessary, with its schema unless that is `main`."""
    names = [name] if schema in (None, "main") else [schema, name]
    return ".".join(part if _PLAIN.fullmatch(part) and part not in _keywords() else quoted_name(part) for part in names)


@cache
def _keywords() -> frozenset[str]:
    with duckdb.connect() as connection:
        words = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        return frozenset(word for (word,) in connection.execute(words).fetchall())
