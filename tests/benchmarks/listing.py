"""The cases of the command line: the CPU time of a command. Bare: that of importing the libraries that it loads."""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial

from .cases import Case, Side
from .world import Worlds

COMMANDS = {"18a": "runs", "18b": "top", "18c": "show best", "18d": "--help"}
RUN = "import sys; from nirs4all_store.cli import app; app(sys.argv[1:])"
IMPORT = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
TELL = """
import atexit, sys

def tell():
    files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    print(*(name for name, file in files.items() if "site-packages" in file and not name.startswith("_")))

atexit.register(tell)
"""
"""Prints, when a program ends, which modules of other packages it has loaded."""


class Program(Side):
    """A program for a new interpreter, of which the CPU time is taken.

    Parameters
    ----------
    program : str
    *words : str
        Its arguments.
    """

    def __init__(self, program: str, *words: str) -> None:
        super().__init__(self.printed)
        self._command = [sys.executable, "-c", program, *words]

    def printed(self) -> str:
        """Run it, and return what it prints."""
        return subprocess.run(self._command, capture_output=True, check=True, text=True).stdout

    def time(self, calls: int) -> float:
        """Return the milliseconds of CPU time of one run."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(calls):
            self.printed()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / calls * 1000


def _listing(command: str, number: str, worlds: Worlds) -> Case:
    """Run a command."""
    words = ["-w", str(worlds.trained), *command.split()]
    *_, loaded = Program(TELL + RUN, *words).printed().splitlines()
    libraries = [name for name in loaded.split() if not name.startswith("nirs4all_store")]
    work = f"nirs4all-store {command}, CPU time; bare: to import its libraries"
    return Case(number, work, Program(RUN, *words), Program(IMPORT, *libraries), 1.3, rounds=9)


CASES = {number: partial(_listing, command, number) for number, command in COMMANDS.items()}
