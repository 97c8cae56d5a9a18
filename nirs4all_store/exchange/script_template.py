"""The text of an exported `.n4a.py`, to be filled by `script_writer.write_script`."""

SCRIPT = '''\
"""Predict with a chain exported by nirs4all_store.

    python FILE.n4a.py X.csv                            one line of CSV a sample
    python FILE.n4a.py X.npy --wavelengths nm.csv       for chains that need wavelengths
    python FILE.n4a.py X.csv --resample                 spectra of another instrument, interpolated

X has one spectrum a row, in a NPY or a text file (.csv, .tsv, .txt, or one of these with .gz) in UTF-8. Titles and
lines of names and units above the spectra are told by what they hold (or by --header, --no-header). By the names the
columns are found where the chain knows those of training; else they go by their places. It needs numpy, joblib and
PACKAGES below, best in the versions that the chain was trained with. The fitted objects inside are
pickles: run this file only if you trust who made it.
"""

from __future__ import annotations

CHAIN = {about!r}
PACKAGES = {packages!r}

import argparse
import base64
import codecs
import copy
import csv
import gzip
import hashlib
import inspect
import io
import itertools
import os
import pickle
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

InvalidInputError = ValueError

{modules}

COLUMNS = {columns!r}

WAVELENGTHS = {wavelengths!r}

VOTES = {votes!r}

Y_RANGE = {y_range!r}

DOMAIN_OBJECT = {domain!r}

SHARED = {shared!r}

FOLDS = {folds!r}

OBJECTS = {{
{objects}
}}


def load_object(digest):
    """Return a fitted object, once its bytes are known to be the exported ones."""
    kind, text = OBJECTS[digest]
    content = base64.b64decode(text)
    if hashlib.sha256(content).hexdigest() != digest:
        raise SystemExit(f"this file is damaged: the SHA-256 of object {{digest}} does not match")
    if kind == "joblib":
        import joblib

        return joblib.load(io.BytesIO(content))
    if kind == "npz":
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    if kind == "skops":
        import skops.io

        return skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    return pickle.loads(content)


def read_table(path, header=None):
    """Return the layout of a text file, and the cells of each row below its names."""
    with open(path, "rb") as stream:
        content = stream.read()
    if not path.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt")):
        raise ValueError(f"{{path}} is neither CSV nor NPY by its name; save it as .csv")
    lines = lines_of(gzip.decompress(content) if path.lower().endswith(".gz") else content, path)
    if not any(map(any, lines.rows)):
        raise ValueError(f"{{path}} has no rows")
    try:
        layout = find_layout(lines.rows, path) if header is None else told_layout(lines.rows, header)
    except ValueError as error:
        raise ValueError(f"{{error}}; or say --header or --no-header") from error
    refuse_long_rows(lines, lines.ends[layout.start], layout.width, path)
    below = itertools.islice(io.BytesIO(lines.content), lines.ends[layout.first], None)
    rows = list(csv.reader(map(bytes.decode, below), delimiter=lines.separator))
    while rows and not any(map(str.strip, rows[-1])):
        del rows[-1]
    if not rows:
        raise ValueError(f"{{path}} has no rows")
    return layout, lines.separator, rows


def told_layout(rows, header):
    """Return the layout of a table of which it is known whether its first row has names."""
    first = rows[int(header) : int(header) + 1] or [[]]
    return Layout(0, int(header), rows[0] if header else None, None, len(rows[0]), [*map(is_number, first[0])])


def read_spectra(path, header=None, resample=False):
    """Return X, and the wavelengths of training if its columns were found by those, or by their names."""
    if resample and (WAVELENGTHS is None or path.endswith(".npy")):
        raise ValueError("--resample needs a CSV with columns named by wavelengths, and a chain that knows its own")
    if path.endswith(".npy"):
        return np.load(path, allow_pickle=False), None
    layout, separator, rows = read_table(path, header)
    names = layout.names or []
    measured = None
    try:
        found = places(names, COLUMNS, WAVELENGTHS, path) if names else None
    except ValueError:
        refuse_long_form(names, path)
        grid = grid_of(names, path) if resample else None
        if grid is None:
            raise
        found, measured = grid
    if found is None and names:
        refuse_long_form(names, path)
    chosen = found if found is not None else columns_of_numbers(layout, rows)
    known = WAVELENGTHS or COLUMNS
    if found is None and known is not None and len(chosen) != len(known):
        raise ValueError(
            f"{{path}} has {{len(chosen)}} columns of numbers, and the chain was trained on {{len(known)}} "
            "wavelengths; name the columns by their wavelengths"
        )
    if not len(chosen):
        raise ValueError(f"no column of {{path}} has numbers; give spectra, a column a wavelength")
    X = np.array([numbers_of([*cells_of(rows, place)], separator, path) for place in chosen]).T
    if measured is not None:
        X = resampled(X, measured, np.array(WAVELENGTHS), path)
    return X, None if found is None else WAVELENGTHS


def refuse_long_form(names, path):
    """Refuse a table that has a row for each wavelength."""
    if any(map(AXIS.fullmatch, names)) and not families(names):
        raise ValueError(f"{{path}} seems to have a row for each wavelength; give a row for each spectrum")


def columns_of_numbers(layout, rows):
    """Return the places of the columns that are named as spectra; else of those that have numbers, and no codes."""
    if layout.names is None:
        return np.flatnonzero(layout.numeric).tolist()
    names = without_index(layout.names)
    spectra = spectral(names, "the table")[0]
    if spectra:
        return [layout.names.index(name) for name in spectra]
    numeric = [place for place in np.flatnonzero(layout.numeric) if place or names[:1] == layout.names[:1]]
    return [place for place in numeric if not any(re.match(CODE, cell) for cell in cells_of(rows, place))]


def cells_of(rows, place):
    """Give the cells of a column; those of rows that are too short are empty."""
    return (row[place].strip() if place < len(row) else "" for row in rows)


def numbers_of(cells, separator, path):
    """Return cells as numbers, nan where one is missing."""
    commas = [cell for cell in cells if "," in cell]
    if commas and (separator == "," or any("." in cell for cell in cells)):
        raise ValueError(f"{{path}} has {{commas[0]!r}}; write a decimal point, and no separators of thousands")
    wrong = [row for row, cell in enumerate(cells) if not (is_number(cell) or cell.lower() in MISSING)]
    if wrong:
        raise ValueError(f"{{path}} has {{cells[wrong[0]]!r}} in row {{wrong[0]}} (the first is 0), which is no number")
    return [key(cell) if is_number(cell) else np.nan for cell in cells]


def read_wavelengths(path):
    """Return the numbers of a NPY or text file, in a row or a column, with or without a line of names above."""
    if path.endswith(".npy"):
        return np.ravel(np.load(path, allow_pickle=False))
    _, separator, rows = read_table(path, header=False)
    has_names = not all(is_number(cell) for cell in rows[0] if cell.strip())
    return np.array(numbers_of([cell.strip() for row in rows[has_names:] for cell in row], separator, path))


def judged(shared, folds, X, wavelengths, domain):
    """Return columns (name and values) of predictions and of how far they can be believed, and a sentence or None."""
    seen = {{}}
    try:
        domain = None if domain is None else checked_domain(domain)
    except ValueError as error:
        print(f"what the calibration covers is not known: {{error}}", file=sys.stderr)
        domain = None

    def look(model, own):
        if domain is not None and np.shape(own)[1:] == domain["mean"].shape:
            seen["far"] = distances(domain, own)

    y, of_folds = Operators(shared, folds, votes=VOTES).predict_and_look(X, wavelengths, look)
    predicted = as_columns(y).T.tolist()
    columns = [("predicted" if len(predicted) == 1 else f"predicted_{{i}}", own) for i, own in enumerate(predicted)]
    far, outside_x, outside_y = seen.get("far"), None, None
    if far is not None:
        outside_x = far.outside
        named = {{"t2": far.t2, "q": far.q, "outside_envelope": far.outside_envelope, "outside_x": outside_x}}
        columns += [(name, values.tolist()) for name, values in named.items()]
    if of_folds and Y_RANGE is not None:
        outside_y = outside_range(as_columns(y), Y_RANGE)
        columns.append(("outside_y", outside_y.tolist()))
    return columns, summary(outside_x, outside_y)


def judged_where_whole(X, judge):
    """Return what `judge` says of X, without a value for rows that miss one, unless the chain takes those."""
    try:
        return judge(X)
    except ValueError:
        gaps = np.isnan(X).any(axis=1) if X.ndim == 2 and X.dtype.kind == "f" else np.zeros(1)
        if not gaps.any() or gaps.all():
            raise
    columns, warning = judge(X[~gaps])
    print(f"no prediction for {{np.sum(gaps)}} rows with a missing value", file=sys.stderr)
    at = np.cumsum(~gaps) - 1
    return [(name, ["" if gap else values[i] for gap, i in zip(gaps, at)]) for name, values in columns], warning


def main():
    """Read X, predict, print."""
    parser = argparse.ArgumentParser(description="Predict with an exported chain.")
    parser.add_argument("X", help="CSV or NPY file, one spectrum a row")
    parser.add_argument("--wavelengths", help="CSV or NPY file, one number a column of X")
    parser.add_argument("--header", action=argparse.BooleanOptionalAction, help="whether X has a line of names above")
    parser.add_argument(
        "--distances", action="store_true", help="print a header, and T2, Q and what is outside the calibration, too"
    )
    parser.add_argument("--resample", action="store_true", help="interpolate spectra of other wavelengths")
    options = parser.parse_args()
    try:
        loaded = {{digest: load_object(digest) for digest in OBJECTS}}
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"an object in this file cannot be loaded here: {{error}}; it was fitted with {{PACKAGES}}")
    shared = [(label, build(part, loaded.__getitem__)) for label, part in SHARED]
    folds = {{
        fold: [(label, build(part, loaded.__getitem__)) for label, part in entries] for fold, entries in FOLDS.items()
    }}
    try:
        for path in filter(os.path.exists, filter(None, (options.X, options.wavelengths))):
            if not os.path.isfile(path):
                raise ValueError(f"{{path}} is no file; save what it gives to a file, and give that")
        X, wavelengths = read_spectra(options.X, options.header, options.resample)
        if options.wavelengths:
            wavelengths = read_wavelengths(options.wavelengths)
        domain = loaded.get(DOMAIN_OBJECT)
        columns, warning = judged_where_whole(X, lambda X: judged(shared, folds, X, wavelengths, domain))
    except (OSError, EOFError, zlib.error, csv.Error, ValueError) as error:
        raise SystemExit(f"cannot predict: {{error}}")
    sys.stdout.reconfigure(errors="backslashreplace")  # A class may have letters that the terminal lacks.
    try:
        kept = [column for column in columns if options.distances or column[0].startswith("predicted")]
        lines = csv.writer(sys.stdout, lineterminator="\\n")
        if options.distances:
            lines.writerow(name for name, values in kept)
        lines.writerows(zip(*(values for _, values in kept)))
        sys.stdout.flush()
        if warning is not None:
            print(warning, file=sys.stderr)
    except BrokenPipeError:  # Whoever reads has enough, and Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
'''
