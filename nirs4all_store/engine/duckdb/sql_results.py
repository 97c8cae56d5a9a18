"""Makes a polars frame of DuckDB's answer to a query.

Every value is in the frame as it is. If polars or Python cannot hold a value, an error is raised: polars would make
None or another value of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import QueryError
from ..base import Question

INTERVAL = "month_day_nano_interval"
DAY = {"s": 24 * 60 * 60, "ms": 24 * 60 * 60 * 10**3, "us": 24 * 60 * 60 * 10**6, "ns": 24 * 60 * 60 * 10**9}
# Beyond these years Python, and so polars, has no dates.
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
OPAQUE = {"bignum", "bit", "variant", "geometry", "union", "time with time zone"}
WHOLE = ("hugeint", "uhugeint")
MOST_DIGITS = 38


def limited(batches: Iterable[pa.RecordBatch], question: Question) -> list[pa.RecordBatch]:
    """Return the batches of an answer as a list.

    Raises
    ------
    QueryError
        They have more than `max_rows` rows or `max_bytes` bytes.
    """
    found, rows, size = [], 0, 0
    for batch in batches:
        found.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows > question.max_rows:
            raise QueryError(
                f"the query gives more than {question.max_rows:,} rows; add a LIMIT, or give a larger max_rows="
            )
        if size > question.max_bytes:
            raise QueryError(
                f"the query gives more than {question.max_bytes:,} bytes; ask for fewer columns or rows, or give a "
                "larger max_bytes="
            )
    return found


def frame_of(schema: pa.Schema, types: Sequence[Sequence[str]], batches: list[pa.RecordBatch]) -> pl.DataFrame:
    """Return the batches of an answer as a frame.

    Parameters
    ----------
    schema : pyarrow.Schema
    types : sequence of sequence of str
        For each column, the name of its DuckDB type and of the types in it; see `kinds_in`.
    batches : list of pyarrow.RecordBatch

    Raises
    ------
    QueryError
        polars or Python cannot hold a value; the message names the column.
    """
    table = pa.Table.from_batches(batches, schema=schema)
    columns = []
    for column, field, (kind, *inside) in zip(table.columns, table.schema, types, strict=True):
        opaque = OPAQUE & {kind, *inside}
        if pa.types.is_interval(field.type):
            columns.append(pl.from_arrow(_durations(column, field.name)))
        elif kind in WHOLE:
            columns.append(_whole_numbers(column, field.name, kind))
        elif opaque:
            what = f"values of the type {', '.join(sorted(opaque)).upper()}, which only the engine has"
            raise _no_value(field.name, what, "them AS VARCHAR")
        elif "uhugeint" in inside:
            raise _no_value(field.name, "numbers of 128 bits without a sign inside another value", "them AS VARCHAR")
        elif INTERVAL in str(field.type):
            raise _no_value(field.name, "intervals inside another value", "numbers with epoch(...) or date_diff(...)")
        else:
            for chunk in column.chunks:
                _check_values(chunk, field.name)
            columns.append(pl.from_arrow(column))
    return pl.DataFrame(dict(zip(_names(schema.names), columns, strict=True)))


def _names(given: Sequence[str]) -> list[str]:
    """Return unique names of columns, as DuckDB makes them: the second `name` becomes `name_1`."""
    counts: Counter[str] = Counter()
    names: dict[str, None] = {}
    for name in given:
        new = name
        while new in names:
            counts[name] += 1
            new = f"{name}_{counts[name]}"
        names[new] = None
    return list(names)


def _whole_numbers(column: pa.ChunkedArray, name: str, kind: str) -> pl.Series:
    """Return integers of 128 bits, such as sums, as 64-bit integers if all of them fit."""
    series = pl.Series(pl.from_arrow(column))
    if kind == "uhugeint" and (series < 0).any():  # Arrow reads the same bits as signed numbers.
        raise _no_value(name, "numbers of 128 bits without a sign", "them AS VARCHAR")
    wide = series.cast(pl.Int128)
    fits = wide.is_between(-(2**63), 2**63 - 1).all()
    return wide.cast(pl.Int64) if fits else wide


def _check_values(array: pa.Array, name: str) -> None:
    """Raise if polars or Python cannot hold a value: it would become None or another value, or end the program."""
    kind = array.type
    if pa.types.is_nested(kind):
        for part in _inside(array):
            _check_values(part, name)
        return
    if pa.types.is_decimal(kind) and kind.scale == 0 and array.null_count < len(array):
        if max(abs(int(bound)) for bound in pc.min_max(array).as_py().values()) >= 10**MOST_DIGITS:
            raise _no_value(name, f"a number of more than {MOST_DIGITS} digits inside another value", "it AS VARCHAR")
        return
    if not (pa.types.is_time(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        return
    a_day = 1 if kind == pa.date32() else DAY[kind.unit]
    values = array.drop_null().view(pa.int32() if kind == pa.date32() else pa.int64()).to_numpy() // a_day
    first, last = (0, 0) if pa.types.is_time(kind) else (FIRST_DAY, LAST_DAY)
    if len(values) and not (first <= values.min() and values.max() <= last):
        what = "the time 24:00:00" if last == 0 else "a date before the year 1, after 9999, or that is infinite"
        raise _no_value(name, f"{what}, which Python has not", "it AS VARCHAR, or for epoch(...)")


def _inside(array: pa.Array) -> list[pa.Array]:
    if pa.types.is_map(array.type):
        return [array.keys, array.items]
    return list(array.flatten()) if pa.types.is_struct(array.type) else [array.flatten()]


def _durations(intervals: pa.ChunkedArray, name: str) -> pa.Array:
    values = [value.as_py() for value in intervals]
    if any(value is not None and value.months for value in values):
        raise _no_value(
            name, "an interval of months, which have no length", "numbers with epoch(...) or date_diff(...)"
        )
    durations = [value and timedelta(value.days, microseconds=value.nanoseconds // 1000) for value in values]
    return pa.array(durations, pa.duration("us"))


def _no_value(name: str, what: str, instead: str) -> QueryError:
    return QueryError(f"column {name!r} has {what}; ask for {instead}")
