"""What a database has besides rows, and in what that differs from its revision: what is more may act by itself.

What a revision has stands in `migrations/catalogs`, as DuckDB prints it. A file that prints the same has just that.
Any other is compared piece by piece with a database that is made of that text: another DuckDB may print it differently.

See docs/decisions/0015.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import duckdb

from ..findings import Changed, Differences, Extra
from .settings import quoted_name

# Filtered by the database, not by `internal`: that is a bit in the file, which its author can set. The kinds before the
# names are there because a trigger may be called what a table is made with.
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
# Apart from the others: it takes 15 ms, since the engine describes all its own functions for it.
_MACROS = """
    SELECT schema_name, function_name, function_type FROM system.main.duckdb_functions() WHERE database_name = $name
    ORDER BY ALL
"""
_TABLES = """
    SELECT schema_name, table_name, sql FROM system.main.duckdb_tables() WHERE database_name = $name ORDER BY ALL
"""
# Kind, schema, name, what tells one from another of the same name, and the table after ON.
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
# A column whose name is such a word is printed in quotes.
_KEY = re.compile(r" (PRIMARY KEY|UNIQUE)$")
_CONSTRAINT = re.compile(r"(CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY|CONSTRAINT)\b")
_ACTS = re.compile(r"\b(DEFAULT|GENERATED|COLLATE|CHECK|UNIQUE|REFERENCES)\b")


def differences(
    connection: duckdb.DuckDBPyConnection, database: str, printed: str, *, macros: bool = True
) -> Differences:
    """Return what a database has more than a revision, as triggers, views or columns, and which columns it has not.

    Tables of the user's own are nothing more, as long as they only hold rows.

    Parameters
    ----------
    connection : DuckDBPyConnection
        One on which a name means the engine's own function.
    database : str
        The name that it has for the engine.
    printed : str
        What the revision has.
    macros : bool
        Whether to look for macros too, which takes longer; one alone does nothing.
    """
    named = {"name": database}
    found = {sql for (sql,) in connection.execute(_PRINTED, named).fetchall()}
    statements = printed.replace(",\n    ", ", ").splitlines()
    # Alembic names the key behind its column, `schema.stamp` beside it.
    known = {
        *statements,
        *(statement.replace(", PRIMARY KEY(version_num)", " PRIMARY KEY") for statement in statements),
    }
    is_as_printed = found <= known and len(found) == printed.count("CREATE ")
    more, changed = ([], []) if is_as_printed else _compared(connection, named, printed)
    if macros:
        more += map(_macro, connection.execute(_MACROS, named).fetchall())
    return Differences(more, changed)


def _macro(row: tuple[str, str, str]) -> Extra:
    schema, name, kind = row
    path = _path(schema, name)
    return Extra(f"macro {path}", f"DROP MACRO{' TABLE' if kind == 'table_macro' else ''} {path}")


def _compared(connection: duckdb.DuckDBPyConnection, named: dict[str, str], printed: str) -> Differences:
    with duckdb.connect(config={"enable_external_access": "false"}) as revision:
        revision.execute(printed)
        others, tables = (revision.execute(query, {"name": "memory"}).fetchall() for query in (_OTHERS, _TABLES))
    known = {name: sql for _, name, sql in tables}
    here = connection.execute(_TABLES, named).fetchall()
    rows = [row for row in connection.execute(_OTHERS, named).fetchall() if row not in others]
    # In the order in which they can be removed: a column may be used by a view, and a sequence by a column.
    more = [_other(*row) for row in rows if row[0] in _USE_TABLES]
    for schema, name, sql in here:
        more += _of_table(schema, name, sql, known.get(name) if schema == "main" else None)
    more += (_other(*row) for row in rows if row[0] not in _USE_TABLES)
    return Differences(more, list(_changed(known, {name: sql for schema, name, sql in here if schema == "main"})))


def _changed(known: dict[str, str], here: dict[str, str]) -> Iterator[Changed]:
    """Yield the columns of a revision that are not there, or of another type; what acts in one is for `_of_table`."""
    for table, sql in known.items():
        found = _columns(here.get(table, ""))
        for name, wanted in _columns(sql).items():
            column = found.get(name, "")
            if column != wanted and not _ACTS.search(_QUOTED.sub('""', column)):
                yield Changed(f"{table}.{name}", wanted, column)


def _columns(sql: str) -> dict[str, str]:
    """Return the columns of a CREATE TABLE by name, each with its type."""
    columns = [(_column(clause), clause) for clause in _clauses(sql) if not _CONSTRAINT.match(clause)]
    return {name: clause.removeprefix(name).strip().removesuffix(" NOT NULL") for name, clause in columns}


def _other(kind: str, schema: str, name: str, _: str | None, on_table: str | None) -> Extra:
    """Return what to say of a trigger, view, index, sequence, type or schema."""
    path = _path("main" if on_table else schema, name)
    what, rest = f"{kind.lower()} {path}", " CASCADE" if kind == "SCHEMA" else ""
    if on_table:
        table = _path(schema, on_table)
        what, rest = f"{what} on {table}", f" ON {table}"
    return Extra(what, f"DROP {kind} {path}{rest}")


def _of_table(schema: str, table_name: str, sql: str, known: str | None) -> Iterator[Extra]:
    """Yield what a table has that the one of the revision has not; what acts, of one that no revision has."""
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
    """Return the statements that make a table anew: DuckDB has none that drops a constraint."""
    table, new = _path(schema, name), _path(schema, f"{name}_new")
    if known:
        names = ", ".join(columns)
        made = f"CREATE TABLE {new}({', '.join(_clauses(known))}); "
        made += f"INSERT INTO {new}({names}) SELECT {names} FROM {table}"  # noqa: S608  # shown to the user, not run
    else:
        made = f"CREATE TABLE {new} AS FROM {table}"
    return f"{made}; DROP TABLE {table}; ALTER TABLE {new} RENAME TO {_path('main', name)}"


def _clauses(sql: str) -> list[str]:
    """Return what stands between the brackets of a CREATE TABLE, each column and constraint by itself."""
    pieces, depth = [""], 0
    for part in _TOKENS.findall(sql):
        depth += (part == "(") - (part == ")")
        if part == "," and depth == 1:
            pieces.append("")
        elif depth > 1 or (depth == 1 and part != "("):
            pieces[-1] += part
    clauses = []
    for clause in map(str.strip, pieces):
        key = _KEY.search(clause)  # It may stand behind its column, or by itself.
        clauses += [clause] if key is None else [clause[: key.start()], f"{key[1]}({_column(clause)})"]
    return clauses


def _column(clause: str) -> str:
    name = _NAME.match(clause)
    return name[0] if name else clause


def _path(schema: str, name: str) -> str:
    """Return a name as SQL has it, in quotes where it needs them, with its schema if that is not the usual one."""
    names = [name] if schema in (None, "main") else [schema, name]
    return ".".join(part if _PLAIN.fullmatch(part) and part not in _keywords() else quoted_name(part) for part in names)


@cache
def _keywords() -> frozenset[str]:
    with duckdb.connect() as connection:
        words = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        return frozenset(word for (word,) in connection.execute(words).fetchall())
