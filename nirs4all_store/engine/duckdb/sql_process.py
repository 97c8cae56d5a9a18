"""A query that another process answers, on a copy of the tables: it can be killed, and its memory is its own.

See docs/decisions/0016.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self, cast

import polars as pl

from ...errors import QueryError, QueryTimeoutError
from .sql_results import frame_of, limited

if TYPE_CHECKING:
    import pyarrow as pa

THREADS = 4
TOO_LATE = "the query took longer than {:g} s; ask for less, or give more"


class Limits(NamedTuple):
    """How much an answer may be, and how long it may take, in seconds."""

    max_rows: int
    max_bytes: int
    seconds: float


class RemoteError(Exception):
    """What the engine of the other process raised."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class SqlProcess:
    """The process; use it with `with`, at whose end it is gone.

    Parameters
    ----------
    limits : Limits
    memory : int
        How many bytes its engine may take before it puts what it works on to the disk.
    """

    def __init__(self, limits: Limits, memory: int) -> None:
        self._limits = limits
        self._memory = memory
        self._is_late = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            # These are called at the interpreter's end, too: it waits for no daemon thread that asks.
            self._folder = tempfile.mkdtemp(prefix="nirs4all_store-")
            stack.callback(weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True))
            self._process = stack.enter_context(_started())
            stack.callback(weakref.finalize(self, self._process.kill))
            stack.enter_context(self._timing())
            self._stack = stack.pop_all()
        return self

    @contextlib.contextmanager
    def _timing(self) -> Iterator[None]:
        timer = threading.Timer(min(self._limits.seconds, threading.TIMEOUT_MAX), self._kill_late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _kill_late(self) -> None:
        self._is_late = True
        self.kill()

    def kill(self) -> None:
        """End the process at once; what waits for its answer ends with it."""
        self._process.kill()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):  # Of what it was not given any more.
            self._stack.close()

    def submit(
        self,
        query: str,
        params: Any,
        tables: dict[str, list[tuple[str, str]]],
        rows: Iterable[pa.RecordBatchReader],
    ) -> None:
        """Give it a query and all it needs for it.

        Parameters
        ----------
        query : str
        params : list, dict or None
            The values of parameters, as plain Python has them.
        tables : dict
            By name, the names and types of the columns.
        rows : iterable of pyarrow.RecordBatchReader
            Of each of these tables.
        """
        import pyarrow as pa

        seconds = self._limits.seconds
        config = {"memory_limit": f"{self._memory}B", "temp_directory": self._folder, "threads": THREADS}
        header = {
            "query": query,
            "params": params,
            "tables": list(tables.items()),
            "config": config,
            "seconds": seconds if seconds < threading.TIMEOUT_MAX else None,
        }
        with contextlib.suppress(BrokenPipeError):  # What ended it is told by what it answers, or by how it ended.
            content, pipe = pickle.dumps(header), cast(IO[bytes], self._process.stdin)
            pipe.write(len(content).to_bytes(8, "little") + content)
            for reader in rows:
                with pa.ipc.new_stream(pipe, reader.schema) as stream:
                    for batch in reader:
                        stream.write_batch(batch)
            pipe.close()

    def result(self) -> pl.DataFrame:
        """Return what it answers.

        Raises
        ------
        QueryTimeoutError, QueryError
            It took too long, or more memory than it may, or gives too much, or ended.
        RemoteError
            Its engine refused the query.
        """
        import pyarrow as pa

        pipe = cast(IO[bytes], self._process.stdout)
        try:
            types = self._told()["types"]
            with pa.ipc.open_stream(pipe) as stream:
                batches = limited(stream, self._limits.max_rows, self._limits.max_bytes)
                schema = stream.schema
            self._told()
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            if isinstance(error, QueryError):
                raise
            raise self._ended() from error
        return frame_of(schema, types, batches)

    def _told(self) -> dict[str, Any]:
        pipe = cast(IO[bytes], self._process.stdout)
        told: dict[str, Any] = json.loads(pipe.readline())
        if "error" in told:
            raise RemoteError(told["error"], told["message"])
        return told

    def _ended(self) -> QueryError:
        code = self._process.wait()
        if self._is_late:
            return QueryTimeoutError(TOO_LATE.format(self._limits.seconds))
        return QueryError(
            f"the process that was to answer the query ended ({code}), as one of the engine's functions ends it or it "
            "took too much memory; nothing else was harmed: ask for less, or in another way"
        )


def _started() -> subprocess.Popen[bytes]:
    """Start the process, for which the modules are where they are for this one."""
    return subprocess.Popen(  # noqa: S603  # this Python, with a module of this package
        [sys.executable, "-P", "-m", f"{__package__}.sql_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},  # noqa: PTH109
        start_new_session=True,  # Ctrl-C is for this process, which then kills that one.
    )
