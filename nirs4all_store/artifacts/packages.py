"""Tells whether a module comes from an installed package, or exists only beside one script.

An object of such a module can be loaded elsewhere only if its code is stored with it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path

SCRIPTS = ("__main__", "__mp_main__")
"""The names of the module of a script: in its own process, and in those that multiprocessing starts for it."""
_IS_FOUND = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def is_only_here(name: str) -> bool:
    """Tell whether a class or function is defined in a script, or in a module that lies beside one.

    Parameters
    ----------
    name : str
        Its full name. For a module that is not found at all the answer is False, since nothing is known of it.
    """
    module = name.split(".")[0]
    return module in SCRIPTS or _lies_beside_a_script(module)


@lru_cache
def _lies_beside_a_script(module: str) -> bool:
    if module in sys.stdlib_module_names:
        return False
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # A program made the module itself: there is no file of it.
        return True
    if spec is None:
        return False
    places = [spec.origin, *(spec.submodule_search_locations or [])]
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")]
    if any(Path(place).resolve().is_relative_to(folder) for place in places if place for folder in installed):
        return False
    return module not in distributions_of_packages() and not _is_found_from_another_folder(module)


def distributions_of_packages() -> Mapping[str, list[str]]:
    """Return by the name of each package that is installed the distributions that give it.

    To look through all of them takes longer than most queries; they are looked through anew once a folder has changed.
    """
    changed = []
    for folder in sys.path:
        with contextlib.suppress(OSError):
            changed.append((folder, Path(folder).stat().st_mtime_ns))
    return _distributions_in(tuple(changed))


@lru_cache(maxsize=1)
def _distributions_in(folders: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    return packages_distributions()


def _is_found_from_another_folder(module: str) -> bool:
    """Ask a new interpreter whether it finds a module, without a script's folder and without PYTHONPATH."""
    if not sys.executable:
        return False
    command = [sys.executable, "-E", "-P", "-c", _IS_FOUND, module]
    done = subprocess.run(command, cwd=tempfile.gettempdir(), check=False, timeout=60)  # noqa: S603  # our own program
    return done.returncode == 0
