"""Decides which queries may run in this process: those that can be interrupted in time, and whose memory is bounded.

DuckDB looks between two vectors of 2,048 rows whether it was interrupted, and its memory limit counts what it keeps for
joins, groups and sorting. The work of one function on one vector is neither interrupted nor counted: `list_reduce`, an
edit distance of long texts or a number with a million digits takes minutes, or all memory, and a cast may end the
process. So this module lists the functions that were measured to do little work for each value, and whose results are
not longer than their arguments. Where tables are joined, only numbers and names are allowed: a long text beside each of
two thousand rows would be copied two thousand times before DuckDB looks. Every other query is answered by a process
that can be killed (`sql_worker.py`).

Measurements: docs/decisions/0016.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, JSON, MetaData

from ...errors import QueryError
from .sql_worker import READ_ONLY_TABLE_FUNCTIONS

MAX_LENGTH = 20_000
MAX_NODES = 400
# A condition on a column of a subquery is computed for each place that names the column, at each level of nesting.
MAX_QUERIES = 4
MAX_TABLES = 6
MAX_LONG_VALUES = 4
CATALOGS = {"information_schema", "pg_catalog"}
NODES = {
    "SELECT_NODE",
    "SET_OPERATION_NODE",
    "BASE_TABLE",
    "JOIN",
    "SUBQUERY",
    "EMPTY",
    "EXPRESSION_LIST",
    "SHOW_REF",
    "TABLE_FUNCTION",
    "ORDER_MODIFIER",
    "LIMIT_MODIFIER",
    "DISTINCT_MODIFIER",
    "ORDER_DEFAULT",
    "ASCENDING",
    "DESCENDING",
}
EXPRESSIONS = {
    "COLUMN_REF",
    "CONSTANT",
    "COMPARISON",
    "CONJUNCTION",
    "OPERATOR",
    "CASE",
    "BETWEEN",
    "STAR",
    "PARAMETER",
    "FUNCTION",
    "SUBQUERY",
    "CAST",
    "TYPE",
}
OPERATORS = {
    "OPERATOR_NOT",
    "OPERATOR_IS_NULL",
    "OPERATOR_IS_NOT_NULL",
    "OPERATOR_COALESCE",
    "OPERATOR_NULLIF",
    "COMPARE_IN",
    "COMPARE_NOT_IN",
}
CASTS = {
    "BOOLEAN",
    "BOOL",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "INT",
    "BIGINT",
    "LONG",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "DATETIME",
    "VARCHAR",
    "TEXT",
    "STRING",
}
MOST_ARGUMENTS = (
    dict.fromkeys(
        [
            "count",
            "count_star",
            "sum",
            "avg",
            "mean",
            "min",
            "max",
            "stddev",
            "stddev_samp",
            "stddev_pop",
            "var_samp",
            "var_pop",
            "variance",
            "bool_and",
            "bool_or",
            "any_value",
            "first",
            "last",
            "abs",
            "floor",
            "ceil",
            "ceiling",
            "sqrt",
            "ln",
            "log",
            "log2",
            "log10",
            "exp",
            "isnan",
            "isinf",
            "isfinite",
            "lower",
            "upper",
            "length",
            "len",
            "strlen",
            "epoch",
            "year",
            "month",
            "day",
            "hour",
            "minute",
            "second",
            "typeof",
            "sign",
            "now",
            "today",
        ],
        1,
    )
    | dict.fromkeys(
        [
            "+",
            "-",
            "*",
            "/",
            "//",
            "%",
            "^",
            "**",
            "pow",
            "power",
            "round",
            "trunc",
            "greatest",
            "least",
            "ifnull",
            "nullif",
            "starts_with",
            "prefix",
            "ends_with",
            "suffix",
            "date_trunc",
            "date_part",
            "arg_min",
            "arg_max",
            "min_by",
            "max_by",
            "json_extract",
            "json_extract_string",
            "->",
            "->>",
        ],
        2,
    )
    | {"date_diff": 3, "if": 3}
)
OF_JSON = {"json_extract", "json_extract_string", "->", "->>"}
# A JSON path with a `*` gives a list of all matches, each of which may be as long as the text.
PLAIN_PATH = re.compile(r"[^*]*")
BINDS_ANEW = re.compile(r'\bquery(_table)?"?\s*\(', re.IGNORECASE)
LONGEST_NUMBER = 40
OF_CATALOG = {name for name in READ_ONLY_TABLE_FUNCTIONS if name.startswith(("duckdb_", "pragma_"))}
"""The table functions that read the catalog only."""


class Names(NamedTuple):
    """The names that a query may use: tables, columns with short values, and columns whose values may be long."""

    tables: frozenset[str]
    short: frozenset[str]
    long: frozenset[str]


@cache
def names_in(metadata: MetaData) -> Names:
    """Return the names that a query may use of these tables."""
    columns = [column for table in metadata.sorted_tables for column in table.columns]
    long = frozenset(column.name for column in columns if isinstance(column.type, JSON | ARRAY))
    long |= {"error", "message"}
    return Names(
        frozenset(metadata.tables) | {"alembic_version"}, frozenset(column.name for column in columns) - long, long
    )


def parsed(connection: Any, query: str) -> dict[str, Any] | None:
    """Return the parse tree of a SELECT, as DuckDB's `json_serialize_sql` gives it; None if it gives none."""
    (text,) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone()
    tree = json.loads(text)
    return None if tree["error"] else dict(tree)


def refuse_what_is_bound_anew(query: str, tree: dict[str, Any] | None) -> None:
    """Raise if SQL text inside the query may be different when it runs from what it was when it was checked.

    `query('...')` and `query_table('...')` take SQL or a name as text. The text must be a constant, so that what is
    checked is what runs.

    Raises
    ------
    QueryError
    """
    if not BINDS_ANEW.search(query):
        return
    calls = [node for node in _dicts(tree) if str(node.get("function_name")).lower() in ("query", "query_table")]
    given = [item["expression"] for call in calls for item in call.get("arguments", [])]
    texts = [str(item.get("literal", {}).get("text")) for item in given]
    if not calls or any(item["class"] != "CONSTANT" for item in given) or any(map(BINDS_ANEW.search, texts)):
        raise QueryError("query(...) and query_table(...) take one text, written out: what is checked is what is run")


def is_simple(query: str, tree: dict[str, Any] | None, names: Names) -> bool:
    """Tell whether a query may run in this process.

    Parameters
    ----------
    query : str
    tree : dict or None
        Its parse tree; see `parsed`.
    names : Names
    """
    if tree is None or len(query) > MAX_LENGTH:
        return False
    nodes = list(_dicts(tree["statements"]))
    kinds = [node.get("type") for node in nodes if "class" not in node]
    named = names.tables | {str(node["key"]).lower() for node in nodes if "key" in node and "value" in node}
    return (
        len(nodes) <= 5 * MAX_NODES
        and sum("class" in node for node in nodes) <= MAX_NODES
        and sum(kind in ("SELECT_NODE", "SET_OPERATION_NODE") for kind in kinds) <= MAX_QUERIES
        and all(_is_simple(node, named) for node in nodes)
        and _is_short(nodes, names)
    )


def _is_short(nodes: list[dict[str, Any]], known: Names) -> bool:
    """Tell whether a row has few values that may be long, and none if tables are joined."""
    tables = [node for node in nodes if node.get("type") in ("BASE_TABLE", "TABLE_FUNCTION")]
    stars = sum(node.get("class") == "STAR" for node in nodes)
    names = [str(node["column_names"][-1]).lower() for node in nodes if node.get("class") == "COLUMN_REF"]
    own = {str(node.get("alias")).lower() for node in nodes if "class" in node} - known.long
    if len(tables) <= 1:
        return bool(stars + sum(name not in known.short | own for name in names) <= MAX_LONG_VALUES)
    # The name of a table, used as a column, stands for its whole row.
    rows = {str(node.get(key)).lower() for node in nodes if "sample" in node for key in ("alias", "table_name")}
    renamed = any(node.get("column_name_alias") for node in nodes)
    return not (len(tables) > MAX_TABLES or stars or renamed or {*names} - ((known.short | own) - rows))


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


def _is_simple(node: dict[str, Any], named: Set[str]) -> bool:
    kind, of = node.get("type"), node.get("class")
    if of is not None:
        return of in EXPRESSIONS and _is_simple_expression(node)
    if kind == "BASE_TABLE":
        return str(node["schema_name"]).lower() in CATALOGS or (
            not node["schema_name"] and not node["catalog_name"] and str(node["table_name"]).lower() in named
        )
    if kind == "TABLE_FUNCTION":
        return str(node["function"]["function_name"]) in OF_CATALOG
    if kind == "JOIN":
        return node["ref_type"] in ("REGULAR", "CROSS")
    if kind == "SHOW_REF":
        return str(node["show_type"]) != "SUMMARY"
    if kind == "SELECT_NODE":
        return len(node["group_sets"]) <= 1 and not node["sample"] and not _names_its_own(node["select_list"])
    return kind is None or kind in NODES or "kind" in node


def _is_simple_expression(node: dict[str, Any]) -> bool:
    kind = node["class"]
    if kind == "FUNCTION":
        return str(node["function_name"]) in OF_CATALOG or _is_simple_call(node)
    if kind == "OPERATOR":
        return node["type"] in OPERATORS
    if kind == "CAST":
        return str(node["type_expr"]["type_name"]).upper() in CASTS
    if kind == "STAR":
        return not node["columns"]
    if kind == "CONSTANT":
        literal = node["literal"]
        return literal["kind"] in ("STRING", "BOOLEAN", "NULL_LITERAL") or len(literal["text"]) <= LONGEST_NUMBER
    return True


def _is_simple_call(node: dict[str, Any]) -> bool:
    name, given = str(node["function_name"]).lower(), [item["expression"] for item in node["arguments"]]
    if node["order_bys"]["orders"] or len(given) > MOST_ARGUMENTS.get(name, -1):
        return False
    return name not in OF_JSON or bool(
        len(given) > 1
        and given[1]["class"] == "CONSTANT"
        and PLAIN_PATH.fullmatch(str(given[1]["literal"].get("text")))
    )


def _names_its_own(selected: list[dict[str, Any]]) -> bool:
    """Tell whether a SELECT list uses the alias of one result in another, which DuckDB then computes again."""
    own = {str(item["alias"]).lower() for item in selected} - {""}
    named = (node["column_names"] for node in _dicts(selected) if node.get("class") == "COLUMN_REF")
    return any(len(names) == 1 and str(names[0]).lower() in own for names in named)
