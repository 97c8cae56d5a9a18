"""Other processes for tests: programs that say what they did, line by line, and do the next thing when told to."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Process = subprocess.Popen[str]


class Programs:
    """Starts programs on a folder; those that still run at the end of the test are killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Process] = []

    def start(self, program: str, *arguments: object) -> Process:
        """Start Python code whose first argument is the folder."""
        command = [sys.executable, "-W", "error", "-c", program, str(self.folder), *map(str, arguments)]
        process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
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
            process.kill()
            process.communicate()


def says(process: Process) -> str:
    """Return the next line that a program prints; its errors where it ends instead."""
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.readline().strip() or process.stderr.read()


def tell(process: Process) -> None:
    """Let a program go on that reads a line."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def ends_well(process: Process) -> str:
    """Wait for the end of a program, and return what it printed."""
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors == ""
    return printed
