"""Other processes for tests: programs that say what they did, line by line, and do the next thing when told to."""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TextIO

from nirs4all_store import WorkspaceStore

ZYGOTE = Path(__file__).with_name("zygote.py")
HOLDS = """
import sys, nirs4all_store as n
with n.WorkspaceStore(sys.argv[1]) as store, store.transaction():
    print("holds", flush=True)
    sys.stdin.readline()
"""
"""Holds a workspace until it is told to end."""


class Process:
    """A program at work, with the methods of `subprocess.Popen` that tests need."""

    def __init__(self, program: str, *arguments: object, strict: bool = False) -> None:
        """Start Python code; `strict` makes warnings errors."""
        request = {
            "program": program,
            "arguments": [*map(str, arguments)],
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
            "strict": strict,
        }
        (stdin, own_stdin), (own_stdout, stdout), (own_stderr, stderr) = os.pipe(), os.pipe(), os.pipe()
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(_zygote(), [json.dumps(request).encode()], [stdin, stdout, stderr, theirs.fileno()])
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        theirs.close()
        self.stdin: TextIO = os.fdopen(own_stdin, "w")
        self.stdout: TextIO = os.fdopen(own_stdout)
        self.stderr: TextIO = os.fdopen(own_stderr)
        self.pid = int(self._answers.recv(32))
        self.returncode: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.communicate()

    def poll(self) -> int | None:
        """Return how it has ended, or None."""
        if self.returncode is None:
            self._answers.setblocking(False)
            try:
                self.wait()
            except BlockingIOError:
                return None
            finally:
                self._answers.setblocking(True)
        return self.returncode

    def wait(self) -> int:
        """Wait until it has ended; return its exit code, negative for a signal."""
        if self.returncode is None:
            self.returncode = int(self._answers.recv(32))
        return self.returncode

    def kill(self) -> None:
        """End it as the system does, if it is at work."""
        if self.poll() is None:
            os.kill(self.pid, 9)

    def communicate(self, told: str = "") -> tuple[str, str]:
        """Tell it something and nothing more, wait for its end, and return what it printed, and its errors."""
        if self.stdin.closed:
            return "", ""
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read()))
        reader.start()
        try:
            self.stdin.write(told)
            self.stdin.close()
        except BrokenPipeError:  # It has ended already.
            pass
        printed = self.stdout.read()
        reader.join()
        self.wait()
        self.stdout.close()
        self.stderr.close()
        self._answers.close()
        return printed, errors[0]

    def head(self) -> tuple[str, str]:
        """Read the first line that it prints and no more, as `| head -n 1` does; return it, and the errors."""
        line = self.stdout.readline()
        self.stdout.close()
        self.stdin.close()
        errors = self.stderr.read()
        self.wait()
        self.stderr.close()
        self._answers.close()
        return line, errors


@functools.cache
def _zygote() -> socket.socket:
    """Start what forks the programs of this process; it ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, ZYGOTE, str(theirs.fileno())]
    quiet = subprocess.DEVNULL
    zygote = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=quiet, stdout=quiet)
    theirs.close()

    def end() -> None:
        ours.close()
        zygote.wait()

    atexit.register(end)
    return ours


def run(program: str, *arguments: object) -> str:
    """Run Python code to its end, which must be a good one; return what it printed."""
    return ends_well(Process(program, *arguments))


def script_process(path: Path, *arguments: object, strict: bool = False) -> Process:
    """Start a file, as `python FILE` does where what it imports was imported before."""
    program = f"import runpy, sys; sys.path[0] = {str(path.parent)!r}; sys.argv[0] = {str(path)!r}; "
    return Process(f"{program}runpy.run_path(sys.argv[0], run_name='__main__')", *arguments, strict=strict)


def run_script(path: Path, *arguments: object, strict: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a file to its end; see `script_process`."""
    process = script_process(path, *arguments, strict=strict)
    printed, errors = process.communicate()
    return subprocess.CompletedProcess([path, *arguments], process.wait(), printed, errors)


def run_module(name: str, *arguments: object) -> str:
    """Run a module of the tests as `python -m` does, to its good end; return what it printed, and its errors."""
    root = str(Path(__file__).parents[1])
    process = Process(
        f"import os, runpy; os.chdir({root!r}); runpy.run_module({name!r}, run_name='__main__')", *arguments
    )
    printed = "".join(process.communicate())
    assert process.returncode == 0, printed
    return printed


class Programs:
    """Starts programs on a folder; those that still run at the end of the test are killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Process] = []

    def start(self, program: str, *arguments: object) -> Process:
        """Start Python code whose first argument is the folder."""
        process = Process(program, self.folder, *arguments, strict=True)
        self.started.append(process)
        return process


@contextmanager
def programs(folder: Path) -> Iterator[Programs]:
    """Give what starts programs on a folder."""
    given = Programs(folder)
    try:
        yield given
    finally:
        for process in given.started:
            with process:
                pass


def says(process: Process) -> str:
    """Return the next line that a program prints; its errors where it ends instead."""
    return process.stdout.readline().strip() or process.stderr.read()


def tell(process: Process) -> None:
    """Let a program go on that reads a line."""
    process.stdin.write("go\n")
    process.stdin.flush()


def ends_well(process: Process) -> str:
    """Wait for the end of a program, and return what it printed."""
    printed, errors = process.communicate()
    assert process.returncode == 0, (process.returncode, printed, errors)
    assert errors == "", errors
    return printed


def names(folder: Path) -> list[str]:
    """Return the names of a workspace's runs."""
    with WorkspaceStore(folder, timeout=5) as store:
        return sorted(store.list_runs(limit=None)["name"])
