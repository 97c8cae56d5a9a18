"""Spectra and what is known of them, read from whatever people have them in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from .errors import InvalidInputError

Array = Any

KEYS = ("X", "y", "groups", "weights", "X_test", "y_test", "wavelengths", "name")
READERS = {".csv": pl.read_csv, ".tsv": pl.read_csv, ".parquet": pl.read_parquet}
SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Dataset:
    """What pipelines are trained on.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Numbers, or labels of classes.
    groups, weights : ndarray of shape (n_samples,), or None
        Whose samples stay together in a fold; what each counts when a model is fitted.
    X_test, y_test : ndarray, or None
        Never trained on; without y there are predictions and no scores.
    wavelengths : ndarray of shape (n_features,), or None
    rows, test_rows : ndarray of int
        Which rows of what was given these are: those with a missing value are left out.
    excluded : int
        How many of the rows to train on were left out.
    content_hash : str
        SHA-256 of everything above but the name.
    """

    name: str
    X: Array
    y: Array
    groups: Array | None
    weights: Array | None
    X_test: Array | None
    y_test: Array | None
    wavelengths: Array | None
    rows: Array
    test_rows: Array
    excluded: int
    content_hash: str

    @property
    def exclusion_rate(self) -> float:
        """The share of the rows to train on that were left out."""
        return self.excluded / (self.excluded + len(self.rows))

    def places(self, rows: Array) -> Array:
        """Return where rows of what was given are in X; none of them was left out."""
        return np.searchsorted(self.rows, rows)

    @property
    def summary(self) -> dict[str, Any]:
        """What a run tells of it."""
        return {
            "name": self.name, "hash": self.content_hash, "n_samples": len(self.X), "n_features": self.X.shape[1],
            "n_targets": 1 if self.y.ndim == 1 else self.y.shape[1], "excluded": self.excluded,
            "n_test": 0 if self.X_test is None else len(self.X_test),
        }  # fmt: skip


def read_dataset(given: Any, target: str | Sequence[str] | None = None) -> Dataset:
    """Return the dataset that something stands for.

    Parameters
    ----------
    given : object
        `(X, y)`; `(X, y, groups)`; a dict with `X` and `y`, and any of `X_test`, `y_test`, `wavelengths`, `groups`,
        `weights`, `name`; a polars or pandas frame, or the path of a CSV or Parquet file, of which `target` names the
        column of y, also as `(frame, "protein")` or `{"X": frame, "y": "protein", "groups": "sample"}`. Where columns
        of a frame are named by numbers, they are X and their names the wavelengths, and other columns are left out;
        otherwise all columns of numbers but the named ones are X.
    target : str or list of str, optional

    Raises
    ------
    InvalidInputError
        It is none of these, or its parts do not fit together.
    """
    return given if isinstance(given, Dataset) else _checked(_parts(given, target))


def read_spectra(path: Path) -> tuple[Array, Array | None]:
    """Return X of a CSV, Parquet or NPY file, and the wavelengths if its columns are named by them.

    Raises
    ------
    InvalidInputError
        It cannot be read, or has something else than numbers.
    """
    if path.suffix.lower() != ".npy":
        table = _of_columns(_read(path), ())
        return _spectra(table["X"], str(path)), table["wavelengths"]
    try:
        return _spectra(np.load(path, allow_pickle=False), str(path)), None
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error


def _parts(given: Any, target: Any) -> dict[str, Any]:
    if isinstance(given, tuple) and len(given) == 2 and _is_table(given[0]) and isinstance(given[1], str | list):
        given, target = given
    if isinstance(given, str | Path):
        path = Path(given)
        return _of_table(_read(path), target, str(path)) | {"name": path.stem}
    if _is_table(given):
        return _of_table(_frame(given), target, "the table")
    if isinstance(given, tuple) and len(given) in (2, 3):
        return dict(zip(("X", "y", "groups"), given, strict=False))
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"a dataset is (X, y), (X, y, groups), a dict with X and y, a table with its target's name, or the path "
            f"of a CSV or Parquet file, not {type(given).__name__}"
        )
    unknown = sorted(map(str, set(given) - set(KEYS)))
    if unknown or "X" not in given:
        raise InvalidInputError(
            f"a dataset's dict needs X and y, and may have {', '.join(KEYS[2:])}; it has {', '.join(map(str, given))}"
        )
    parts = dict(given)
    if _is_table(parts["X"]):
        frame = _frame(parts["X"])
        named = {name: parts[name] for name in ("y", "groups", "weights") if isinstance(parts.get(name), str)}
        parts |= _of_table(frame, named.pop("y", target), "X", without=[*named.values()])
        parts |= {name: frame[column].to_numpy() for name, column in named.items()}
    return parts


def _is_table(value: Any) -> bool:
    if isinstance(value, str | Path):
        return Path(value).suffix.lower() in READERS
    return isinstance(value, pl.DataFrame) or type(value).__module__.split(".")[0] == "pandas"


def _frame(table: Any) -> pl.DataFrame:
    if isinstance(table, str | Path):
        return _read(Path(table))
    if isinstance(table, pl.DataFrame):
        return table
    return pl.DataFrame({str(name): table[name].to_numpy() for name in table.columns})


def _read(path: Path) -> pl.DataFrame:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"{path} is no table by its name; give one that ends in {', '.join(READERS)}")
    try:
        return reader(path) if reader is pl.read_parquet else pl.read_csv(path, **_dialect(path))
    except (OSError, UnicodeError, pl.exceptions.PolarsError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error


def _dialect(path: Path) -> dict[str, Any]:
    """Return how a CSV file is to be read: what separates its columns, and whether its decimals have a comma."""
    with path.open(encoding="utf-8") as lines:
        names, first = lines.readline(), lines.readline()
    separator = max(SEPARATORS, key=names.count)
    decimal_comma = separator != "," and "," in first
    return {"separator": separator, "decimal_comma": decimal_comma, "infer_schema_length": None}


def _of_table(frame: pl.DataFrame, target: Any, where: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return X and y of a table, and the wavelengths if it has them."""
    targets = [target] if isinstance(target, str) else list(target or [])
    missing = [name for name in (*targets, *without) if name not in frame.columns]
    if not targets or missing:
        texts = [name for name in frame.columns if not _is_number(name)]
        raise InvalidInputError(
            f"{where} has no column {', '.join(map(repr, missing)) or 'that is known to be y'}; name one of "
            f"{texts[:20] or frame.columns[:20]}"
        )
    y = frame.select(targets).to_numpy()
    return _of_columns(frame, (*targets, *without)) | {"y": y[:, 0] if len(targets) == 1 else y}


def _of_columns(frame: pl.DataFrame, without: Sequence[str]) -> dict[str, Any]:
    """Return X of a table, and the wavelengths if its columns are named by them."""
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric() and name not in without]
    spectra = [name for name in numbers if _is_number(name)]
    wavelengths = np.array([float(name) for name in spectra]) if spectra else None
    return {"X": frame.select(spectra or numbers).cast(pl.Float64).to_numpy(), "wavelengths": wavelengths}


def _is_number(name: str) -> bool:
    try:
        return bool(np.isfinite(float(name)))
    except ValueError:
        return False


def _checked(parts: Mapping[str, Any]) -> Dataset:
    X, y = _spectra(parts["X"], "X"), _targets(parts.get("y"), "y")
    if y is None:
        raise InvalidInputError("a dataset to train on needs y")
    _check_length(y, "y", X, "X")
    kept = ~(_misses(X) | _misses(y))
    if not kept.any():
        raise InvalidInputError(f"every one of the {len(X)} rows has a missing value in X or y")
    found: dict[str, Any] = {"X": _rows(X, kept), "y": _labels(y[kept])}
    for name in ("groups", "weights"):
        column = None if parts.get(name) is None else np.asarray(parts[name])
        if column is not None:
            _check_length(column, name, X, "X")
        found[name] = None if column is None else column[kept]
    test_rows, X_test, y_test = _test(parts, X.shape[1])
    wavelengths = parts.get("wavelengths")
    if wavelengths is not None and np.shape(wavelengths) != (X.shape[1],):
        raise InvalidInputError(f"there are {np.size(wavelengths)} wavelengths for {X.shape[1]} columns of X")
    found |= {
        "X_test": X_test, "y_test": y_test,
        "wavelengths": None if wavelengths is None else np.asarray(wavelengths, dtype=float),
    }  # fmt: skip
    return Dataset(
        name=str(parts.get("name") or "dataset"), rows=np.flatnonzero(kept), test_rows=test_rows,
        excluded=int(np.sum(~kept)), content_hash=_hash(found), **found,
    )  # fmt: skip


def _test(parts: Mapping[str, Any], features: int) -> tuple[Array, Array | None, Array | None]:
    """Return which rows of the test data are complete, and their X and y."""
    if parts.get("X_test") is None:
        if parts.get("y_test") is not None:
            raise InvalidInputError("y_test is given without X_test; give both")
        return np.arange(0), None, None
    X, y = _spectra(parts["X_test"], "X_test"), _targets(parts.get("y_test"), "y_test")
    if X.shape[1] != features:
        raise InvalidInputError(f"X_test has {X.shape[1]} columns and X has {features}; give the same")
    kept = ~_misses(X)
    if y is not None:
        _check_length(y, "y_test", X, "X_test")
        kept &= ~_misses(y)
    return np.flatnonzero(kept), _rows(X, kept), None if y is None else _labels(y[kept])


def _spectra(value: Any, name: str) -> Array:
    try:
        X = np.asarray(value)
        X = X if X.dtype.kind == "f" else X.astype(float)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} has something else than numbers: {error}") from error
    if X.ndim != 2 or 0 in X.shape:
        raise InvalidInputError(f"{name} has shape {X.shape}; give (n_samples, n_features)")
    return X


def _targets(value: Any, name: str) -> Array | None:
    if value is None:
        return None
    y = np.asarray(value)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2) or y.size == 0:
        raise InvalidInputError(f"{name} has shape {y.shape}; give (n_samples,) or (n_samples, n_targets)")
    return y


def _rows(X: Array, kept: Array) -> Array:
    """Return some rows; X itself where it is all of them, since sums depend on how it lies in memory."""
    return X if kept.all() else X[kept]


def _check_length(column: Array, name: str, X: Array, name_X: str) -> None:
    if len(column) != len(X):
        raise InvalidInputError(f"{name} has {len(column)} samples and {name_X} has {len(X)}; give the same")


def _misses(values: Array) -> Array:
    """Tell which rows have a missing value: NaN, or None among labels."""
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind == "O":
        missing = np.frompyfunc(lambda value: value is None or value != value, 1, 1)(values).astype(bool)
    else:
        missing = np.zeros(values.shape, dtype=bool)
    return missing if missing.ndim == 1 else missing.any(axis=1)


def _labels(y: Array) -> Array:
    """Return labels as text or numbers, not as objects."""
    y = np.asarray(y.tolist()) if y.dtype.kind == "O" else y
    if y.dtype.kind not in "biufUS":
        raise InvalidInputError(f"y has values of type {y.dtype}; give numbers or text")
    return y


def _hash(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        if array is not None:
            digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
