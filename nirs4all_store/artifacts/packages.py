"""Which modules come from packages that one can install, and which only one program or folder has."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path

SCRIPTS = ("__main__", "__mp_main__")
"""How a script is called in its own process, and in those that multiprocessing has started for it."""
_IS_FOUND = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def is_only_here(name: str) -> bool:
    """Tell whether a class or function, by its full name, is of a script or of a module that lies beside one.

    What is not installed here either is not known to be so.
    """
    module = name.split(".")[0]
    return module in SCRIPTS or _lies_beside_a_script(module)


@lru_cache
def _lies_beside_a_script(module: str) -> bool:
    if module in sys.stdlib_module_names:
        return False
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # It was made by a program, and was never found anywhere.
        return True
    if spec is None:
        return False
    places = [spec.origin, *(spec.submodule_search_locations or [])]
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")]
    if any(Path(place).resolve().is_relative_to(folder) for place in places if place for folder in installed):
        return False
    return module not in packages_distributions() and not _is_found_from_another_folder(module)


def _is_found_from_another_folder(module: str) -> bool:
    """Ask a new interpreter, which knows of no script and of no PYTHONPATH."""
    if not sys.executable:
        return False
    command = [sys.executable, "-E", "-P", "-c", _IS_FOUND, module]
    done = subprocess.run(command, cwd=tempfile.gettempdir(), check=False, timeout=60)  # noqa: S603  # our own program
    return done.returncode == 0
