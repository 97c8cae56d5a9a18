"""The text of an exported `.n4a.py`, to be filled by `script_writer.write_script`."""

SCRIPT = '''\
"""Predict with a chain exported by nirs4all_store.

    python FILE.n4a.py X.csv                            one line of CSV a sample
    python FILE.n4a.py X.npy --wavelengths nm.csv       for chains that need wavelengths
    python FILE.n4a.py X.csv --resample                 spectra of another instrument, interpolated

X has one spectrum a row; a CSV may have one line of names above (--header, --no-header), by which its columns are
found where the chain knows those of training; else they go by their places. It needs numpy, joblib and
PACKAGES below, best in the versions that the chain was trained with. The fitted objects inside are
pickles: run this file only if you trust who made it.
"""

from __future__ import annotations

CHAIN = {about!r}
PACKAGES = {packages!r}

import argparse
import base64
import copy
import csv
import hashlib
import inspect
import io
import os
import pickle
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

InvalidInputError = ValueError

{inference}

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


def read_matrix(path, header=None, may_rise=False):
    """Return the numbers of a NPY or CSV file, with or without one line of column names."""
    if path.endswith(".npy"):
        return np.load(path, allow_pickle=False)
    delimiter, cells = first_line(path)
    if header is None:
        header = has_names(cells, path, may_rise)
    return np.loadtxt(path, delimiter=delimiter, skiprows=int(header), ndmin=2, encoding="utf-8-sig")


def first_line(path):
    """Return what stands between the cells of a CSV file, and the cells of its first line."""
    with open(path, encoding="utf-8-sig") as stream:
        first = stream.readline().rstrip("\\r\\n")
    delimiter = max(",;\t", key=first.count)
    return delimiter, next(csv.reader([first], delimiter=delimiter), [""])


def read_spectra(path, header=None, resample=False):
    """Return X, and the wavelengths of training if its columns were found by those, or by their names."""
    is_named = not (path.endswith(".npy") or header is False or COLUMNS is WAVELENGTHS is None)
    if resample and (WAVELENGTHS is None or not is_named):
        raise ValueError("--resample needs a CSV with columns named by wavelengths, and a chain that knows its own")
    if not is_named:
        return read_matrix(path, header), None
    delimiter, cells = first_line(path)
    measured = None
    try:
        found = places(cells, COLUMNS, WAVELENGTHS, path)
    except ValueError:
        grid = grid_of(cells, path) if resample else None
        if grid is None and (header or has_names(cells, path, may_rise=False)):
            raise
        if grid is None:
            return read_matrix(path, header=False), None
        found, measured = grid
    if found is None:
        return read_matrix(path, header), None
    options = {{"delimiter": delimiter, "quotechar": '"', "comments": None, "encoding": "utf-8-sig"}}
    X = np.loadtxt(path, skiprows=1, usecols=found, ndmin=2, **options)
    return X if measured is None else resampled(X, measured, np.array(WAVELENGTHS), path), WAVELENGTHS


def has_names(cells, path, may_rise):
    """Tell whether the first line of a file names its columns: a cell of it is neither a number nor missing."""
    try:
        numbers = [float(cell) for cell in cells if cell.strip().lower() not in ("", "na", "n/a", "null")]
    except ValueError:
        return True
    steps = np.diff(numbers)
    if not may_rise and len(numbers) >= 5 and (np.all(steps > 0) or np.all(steps < 0)):
        raise ValueError(
            f"the first line of {{path}} may be a sample or, as its numbers only rise or fall, the wavelengths; "
            "say --no-header or --header"
        )
    return False


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
    columns = [("predicted", column) for column in as_columns(y).T.tolist()]
    far, outside_x, outside_y = seen.get("far"), None, None
    if far is not None:
        outside_x = far.outside
        named = {{"t2": far.t2, "q": far.q, "outside_envelope": far.outside_envelope, "outside_x": outside_x}}
        columns += [(name, values.tolist()) for name, values in named.items()]
    if of_folds and Y_RANGE is not None:
        outside_y = outside_range(as_columns(y), Y_RANGE)
        columns.append(("outside_y", outside_y.tolist()))
    return columns, summary(outside_x, outside_y)


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
    shared = [(label, loaded[digest]) for label, digest in SHARED]
    folds = {{fold: [(label, loaded[digest]) for label, digest in entries] for fold, entries in FOLDS.items()}}
    try:
        for path in filter(os.path.exists, filter(None, (options.X, options.wavelengths))):
            if not os.path.isfile(path):
                raise ValueError(f"{{path}} is no file; save what it gives to a file, and give that")
        X, wavelengths = read_spectra(options.X, options.header, options.resample)
        if options.wavelengths:
            wavelengths = np.ravel(read_matrix(options.wavelengths, may_rise=True))
        columns, warning = judged(shared, folds, X, wavelengths, loaded.get(DOMAIN_OBJECT))
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot predict: {{error}}")
    sys.stdout.reconfigure(errors="backslashreplace")  # A class may have letters that the terminal lacks.
    try:
        kept = columns if options.distances else [(name, values) for name, values in columns if name == "predicted"]
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
