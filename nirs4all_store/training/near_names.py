"""Finds which class, function or package was probably meant by a name that nothing has."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import re
import warnings
from collections.abc import Collection
from types import ModuleType
from typing import Any

from ..validation import MOST_SUGGESTED, did_you_mean, nearest

PACKAGES = ("sklearn", "chemotools")
"""Where a class is looked for by its last name alone."""
NO_OPERATORS = ("conftest", "datasets", "experimental", "externals", "plotting", "tests")
"""Modules of these packages that need not be imported to find classes."""
SHORT_NAMES = {
    "als": "AsLs",
    "ann": "MLPRegressor MLPClassifier",
    "autoscale": "StandardScaler",
    "autoscaling": "StandardScaler",
    "derivative": "SavitzkyGolay NorrisWilliams",
    "detrend": "PolynomialCorrection LinearCorrection",
    "emsc": "ExtendedMultiplicativeScatterCorrection",
    "ica": "FastICA",
    "knn": "KNeighborsRegressor KNeighborsClassifier",
    "lda": "LinearDiscriminantAnalysis",
    "loo": "LeaveOneOut",
    "loocv": "LeaveOneOut",
    "mlr": "LinearRegression",
    "msc": "MultiplicativeScatterCorrection",
    "ols": "LinearRegression",
    "pls": "PLSRegression",
    "pls1": "PLSRegression",
    "pls2": "PLSRegression",
    "plsr": "PLSRegression",
    "rf": "RandomForestRegressor RandomForestClassifier",
    "savgol": "SavitzkyGolay SavitzkyGolayFilter",
    "sg": "SavitzkyGolay SavitzkyGolayFilter",
    "snv": "StandardNormalVariate",
    "svm": "SVR SVC",
}
"""What the field calls these classes, without capitals and hyphens."""
NO_CLASSES = {
    "center": "; use sklearn.preprocessing.StandardScaler with with_std: false",
    "meancenter": "; use sklearn.preprocessing.StandardScaler with with_std: false",
    "meancentering": "; use sklearn.preprocessing.StandardScaler with with_std: false",
    "pcr": "; write two steps, sklearn.decomposition.PCA and sklearn.linear_model.LinearRegression",
    "plsda": "; scikit-learn has no PLS-DA: you can use sklearn.discriminant_analysis.LinearDiscriminantAnalysis "
    "after sklearn.decomposition.PCA",
}
"""What to write for what the field has a name for, and scikit-learn no class."""


def advice(name: str) -> str:
    """Return how a message goes on that says that nothing has a name: what is called nearly so, else what to do."""
    first, _, inside = name.partition(".")
    is_installed = _is_installed(first)
    problem, near = _in_its_module(name) if is_installed and inside else ("", [])
    if first in PACKAGES or not is_installed:
        last, classes = name.rpartition(".")[2], _public_classes()
        may_be_short = first in PACKAGES or not inside
        short = re.sub(r"[-_ ]", "", last.casefold())
        if last in classes:
            near = [classes[last]]
        elif may_be_short and short in NO_CLASSES:
            return NO_CLASSES[short]
        elif may_be_short and short in SHORT_NAMES:
            near = [classes[one] for one in SHORT_NAMES[short].split() if one in classes]
        elif may_be_short and not near:
            near = [classes[one] for one in _like(last, classes)]
    if near:
        return f"; did you mean {' or '.join(near)}?"
    if is_installed or not inside:
        return f"{problem}; give its whole name, as in sklearn.preprocessing.StandardScaler"
    packages = did_you_mean(first, (module.name for module in pkgutil.iter_modules()))
    return f": no package {first!r} is installed{packages or '; install it, or correct its name'}"


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # A name that cannot be one, such as an empty one.
        return False


def _in_its_module(name: str) -> tuple[str, list[str]]:
    """Return what is wrong with a name in a package that is installed, and the names that are nearly right."""
    before, *parts = name.split(".")
    found: Any = importlib.import_module(before)
    for place, part in enumerate(parts):
        whole = f"{before}.{part}"
        try:
            found = getattr(found, part, None) or importlib.import_module(whole)
        except Exception as error:  # A module may be anybody's.
            if not isinstance(error, ModuleNotFoundError) or not whole.startswith(error.name or whole):
                return f": {whole} cannot be imported: {type(error).__name__}: {error}", []
            modules = [module.name for module in pkgutil.iter_modules(getattr(found, "__path__", []))]
            names = {one for one in (*dir(found), *modules) if not one.startswith("_")}
            near = [".".join((before, one, *parts[place + 1 :])) for one in nearest(part, names)]
            return f": {before} has no {part!r}", near
        before = whole
    return "", []


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception:  # It may be anybody's, or need what is not installed.
        return None


@functools.cache
def _public_classes() -> dict[str, str]:
    """Return the whole name of each class of operators of the known packages, by its last name."""
    found: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Old modules say that they are old when they are imported.
        for package in filter(None, map(_module, PACKAGES)):
            for own in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                last = own.name.rpartition(".")[2]
                module = None if last.startswith("_") or last in NO_OPERATORS else _module(own.name)
                for name, kind in vars(module).items() if module else ():
                    if not name.startswith("_") and inspect.isclass(kind) and _is_operator(kind, own.name):
                        found.setdefault(name, f"{own.name}.{name}")
    return found


def _like(name: str, classes: Collection[str]) -> list[str]:
    """Return the classes of which this is the beginning, shortest first, or the initials, else what is nearly so."""
    begin = [one for one in classes if len(name) > 1 and one.casefold().startswith(name.casefold())]
    initials = [one for one in classes if len(name) > 1 and "".join(filter(str.isupper, one)) == name]
    return (sorted(begin, key=len) or initials)[:MOST_SUGGESTED] or nearest(name, classes)


def _is_operator(kind: type, module: str) -> bool:
    """Tell whether a class is one that a module has of its own, and one of operators."""
    return kind.__module__.startswith(module) and any(hasattr(kind, method) for method in ("fit", "split"))
